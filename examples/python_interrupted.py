"""Say so when an answer is interrupted. `pip install openai`, `everytoken serve`, `python python_interrupted.py`."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "any"),
)


def process(content):
    print(content, end="", flush=True)


stream = client.chat.completions.create(
    model="...",
    messages=[{"role": "user", "content": "Hello"}],
    stream=True,
)

try:
    for chunk in stream:
        content = chunk.choices[0].delta.content or ""
        process(content)
except Exception as e:
    print(f"Stream interrupted: {e}")
    # Optionally retry or fall back to non-streaming
