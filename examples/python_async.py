"""Stream an answer with asyncio. `pip install openai`, `everytoken serve`, `python python_async.py`."""

import os

from openai import AsyncOpenAI

async_client = AsyncOpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "any"),
)

import asyncio

async def stream_response():
    stream = await async_client.chat.completions.create(
        model="...",
        messages=[{"role": "user", "content": "Hello"}],
        stream=True
    )
    async for chunk in stream:
        content = chunk.choices[0].delta.content or ""
        print(content, end="", flush=True)

asyncio.run(stream_response())
