"""A question that takes a tool, by each client: what is said, and in brackets what the tool is called with.

Each is given the gateway's URL. An interpreter has the packages of some only.
"""

# ruff: noqa: PLC0415  # which is why

from __future__ import annotations

import asyncio
import json

ASK = "How is the weather in Paris?"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TELLS = "Tells the weather of a city."
FUNCTION = {"name": "weather", "description": TELLS, "parameters": PARAMETERS}
TURNS = 5  # more than any needs


def say(text):
    print(text, end="", flush=True)  # noqa: T201


def weather(city: str) -> str:
    """Tell the weather of a city."""
    say(f"[{city}]")
    return "sunny"


def openai_chat(url):
    from openai import OpenAI

    client = OpenAI(base_url=f"{url}/v1", api_key="unused")
    messages = [{"role": "user", "content": ASK}]
    for _ in range(TURNS):
        tools = [{"type": "function", "function": FUNCTION}]
        with client.chat.completions.stream(model="any", messages=messages, tools=tools) as stream:
            for event in stream:
                if event.type == "content.delta":
                    say(event.delta)
            message = stream.get_final_completion().choices[0].message
        if not message.tool_calls:
            return
        messages.append(message.to_dict())
        for call in message.tool_calls:
            result = weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def openai_responses(url):
    from openai import OpenAI

    client = OpenAI(base_url=f"{url}/v1", api_key="unused")
    items = [{"role": "user", "content": ASK}]
    for _ in range(TURNS):
        with client.responses.stream(
            model="any", input=items, tools=[{"type": "function", "strict": False, **FUNCTION}]
        ) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    say(event.delta)
            output = stream.get_final_response().output
        items += [item.to_dict() for item in output]
        calls = [item for item in output if item.type == "function_call"]
        if not calls:
            return
        for call in calls:
            result = weather(**json.loads(call.arguments))
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})


def anthropic_loop(url):
    from anthropic import Anthropic

    client = Anthropic(api_key="unused", base_url=url)
    messages = [{"role": "user", "content": ASK}]
    tool = {"name": "weather", "description": TELLS, "input_schema": PARAMETERS}
    for _ in range(TURNS):
        with client.messages.stream(model="any", max_tokens=100, messages=messages, tools=[tool]) as stream:
            for text in stream.text_stream:
                say(text)
            message = stream.get_final_message()
        messages.append({"role": "assistant", "content": [part.to_dict() for part in message.content]})
        calls = [part for part in message.content if part.type == "tool_use"]
        if not calls:
            return
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": weather(**call.input)}
            for call in calls
        ]
        messages.append({"role": "user", "content": results})


def anthropic_runner(url):
    """The SDK's own loop, which asks at `/v1/messages?beta=true`."""
    from anthropic import AsyncAnthropic, beta_async_tool

    async def main():
        client = AsyncAnthropic(api_key="unused", base_url=url)

        @beta_async_tool
        async def tell(city: str) -> str:
            return weather(city)

        tell.name = "weather"
        runner = client.beta.messages.tool_runner(
            model="any",
            max_tokens=100,
            tools=[tell],
            messages=[{"role": "user", "content": ASK}],
            stream=True,
        )
        async for stream in runner:
            async for event in stream:
                if event.type == "text":
                    say(event.text)

    asyncio.run(main())


def openai_agents(url):
    from openai import AsyncOpenAI

    from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled

    async def main():
        set_tracing_disabled(True)
        model = OpenAIResponsesModel("any", AsyncOpenAI(base_url=f"{url}/v1", api_key="unused"))
        agent = Agent(name="assistant", model=model, tools=[function_tool(weather)])
        async for event in Runner.run_streamed(agent, ASK).stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                say(event.data.delta)

    asyncio.run(main())


def openai_agents_chat(url):
    from openai import AsyncOpenAI

    from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled

    async def main():
        set_tracing_disabled(True)
        model = OpenAIChatCompletionsModel("any", AsyncOpenAI(base_url=f"{url}/v1", api_key="unused"))
        agent = Agent(name="assistant", model=model, tools=[function_tool(weather)])
        async for event in Runner.run_streamed(agent, ASK).stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                say(event.data.delta)

    asyncio.run(main())


def pydantic_ai(model):
    from pydantic_ai import Agent, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta

    async def main():
        agent = Agent(model, tools=[weather])
        async with agent.run_stream_events(ASK) as events:
            async for event in events:
                if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                    say(event.part.content)
                elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                    say(event.delta.content_delta)

    asyncio.run(main())


def pydantic_ai_chat(url):
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    pydantic_ai(OpenAIChatModel("any", provider=OpenAIProvider(base_url=f"{url}/v1", api_key="unused")))


def pydantic_ai_responses(url):
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    pydantic_ai(OpenAIResponsesModel("any", provider=OpenAIProvider(base_url=f"{url}/v1", api_key="unused")))


def pydantic_ai_anthropic(url):
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    pydantic_ai(AnthropicModel("any", provider=AnthropicProvider(base_url=url, api_key="unused")))


def langchain(llm):
    from langchain_core.messages import HumanMessage, ToolMessage

    bound = llm.bind_tools([weather])
    messages = [HumanMessage(ASK)]
    for _ in range(TURNS):
        whole = None
        for chunk in bound.stream(messages):
            say(chunk.text)
            whole = chunk if whole is None else whole + chunk
        if not whole.tool_calls:
            return
        messages.append(whole)
        messages += [
            ToolMessage(weather(**call["args"]), tool_call_id=call["id"]) for call in whole.tool_calls
        ]


def langchain_chat(url):
    from langchain_openai import ChatOpenAI

    langchain(ChatOpenAI(base_url=f"{url}/v1", api_key="unused", model="any"))


def langchain_responses(url):
    from langchain_openai import ChatOpenAI

    langchain(ChatOpenAI(base_url=f"{url}/v1", api_key="unused", model="any", use_responses_api=True))


def langchain_anthropic(url):
    from langchain_anthropic import ChatAnthropic

    langchain(ChatAnthropic(base_url=url, api_key="unused", model="any"))


def litellm(model, base):
    import litellm

    litellm.suppress_debug_info = True
    messages = [{"role": "user", "content": ASK}]
    for _ in range(TURNS):
        chunks = []
        for chunk in litellm.completion(
            model=model,
            api_base=base,
            api_key="unused",
            messages=messages,
            tools=[{"type": "function", "function": FUNCTION}],
            stream=True,
        ):
            say(chunk.choices[0].delta.content or "")
            chunks.append(chunk)
        message = litellm.stream_chunk_builder(chunks).choices[0].message
        if not message.tool_calls:
            return
        messages.append(message.model_dump())
        for call in message.tool_calls:
            result = weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def litellm_chat(url):
    litellm("openai/any", f"{url}/v1")


def litellm_messages(url):
    litellm("anthropic/any", url)


def litellm_responses(url):
    litellm("openai/responses/gpt-5", f"{url}/v1")
