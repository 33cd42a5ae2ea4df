"""Stream an answer that survives what breaks, straight from any server. `pip install .. openai`, `python python_client.py`."""

import os

import everytoken
from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "any"),
    http_client=everytoken.Client(),
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
