"""Stream an answer. `pip install openai`, `everytoken serve`, `python python_sync.py`."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "any"),
)

stream = client.chat.completions.create(
    model="...",
    messages=[{"role": "user", "content": "Explain transformers"}],
    stream=True
)
full_response = ""
for chunk in stream:
    content = chunk.choices[0].delta.content or ""
    full_response += content
    print(content, end="", flush=True)
