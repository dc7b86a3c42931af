"""Holds the model server's answers to the types of the official SDKs.

    check.py BASE_URL

The server must have the scripts of the test that calls this: "repair", whose first turn says something and calls the
tool bash, and whose second turn only speaks. Every answer must parse without a field that the SDK does not know and
without one that it requires missing; the SDKs by themselves are lenient about both.
"""

import sys

import anthropic
import openai
from google import genai
from pydantic import BaseModel

BASE = sys.argv[1]
COMMAND = {"command": "cat äpfel.py"}
CHAT_TOOL = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object", "properties": {}}}}
CLAUDE_TOOL = {"name": "bash", "input_schema": {"type": "object", "properties": {}}}

openai_client = openai.OpenAI(base_url=BASE + "/v1", api_key="placeholder", max_retries=0, _strict_response_validation=True)
claude = anthropic.Anthropic(base_url=BASE, api_key="placeholder", max_retries=0, _strict_response_validation=True)


def strict(model: BaseModel) -> None:
    """Fails if the model, or one inside it, holds a field that its type does not have, or a value of another type."""
    assert not model.model_extra, f"{type(model).__name__} has more than it should: {model.model_extra}"
    type(model).model_validate(model.model_dump(), strict=False)
    for name, field in type(model).model_fields.items():
        assert not field.is_required() or name in model.model_fields_set, f"{type(model).__name__} lacks {name}"
        value = getattr(model, name)
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, BaseModel):
                strict(inner)


def chat_whole() -> None:
    messages = [{"role": "user", "content": "Repair it."}]
    first = openai_client.chat.completions.create(model="repair", messages=messages, tools=[CHAT_TOOL])
    strict(first)
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content == "Let me look."
    assert choice.message.tool_calls[0].function.name == "bash"
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens > 0
    messages.append(choice.message.model_dump(exclude_none=True))
    messages.append({"role": "tool", "tool_call_id": choice.message.tool_calls[0].id, "content": "pears = 3"})
    second = openai_client.chat.completions.create(model="repair", messages=messages, tools=[CHAT_TOOL])
    strict(second)
    assert second.choices[0].finish_reason == "stop" and second.choices[0].message.tool_calls is None


def chat_stream() -> None:
    for usage in (False, True):
        options = {"stream_options": {"include_usage": True}} if usage else {}
        chunks = list(openai_client.chat.completions.create(
            model="repair", messages=[{"role": "user", "content": "Repair it."}], tools=[CHAT_TOOL], stream=True, **options,
        ))
        for chunk in chunks:
            strict(chunk)
        assert (chunks[-1].usage is not None) == usage and all(chunk.usage is None for chunk in chunks[:-1])
        assert len({chunk.id for chunk in chunks}) == 1
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        assert text == "Let me look.", text
    # The SDK's own reader puts the calls together, and refuses what does not fit.
    with openai_client.chat.completions.stream(
        model="repair", messages=[{"role": "user", "content": "Repair it."}], tools=[CHAT_TOOL],
    ) as stream:
        for _ in stream:
            pass
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
        assert call.function.name == "bash" and "äpfel" in call.function.arguments, call


def claude_whole() -> None:
    messages = [{"role": "user", "content": "Repair it."}]
    first = claude.messages.create(model="repair", max_tokens=100, messages=messages, tools=[CLAUDE_TOOL])
    strict(first)
    assert first.stop_reason == "tool_use" and [block.type for block in first.content] == ["text", "tool_use"]
    assert first.content[1].input == COMMAND and first.usage.output_tokens > 0
    messages.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]})
    messages.append({"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": first.content[1].id, "content": "pears = 3"},
    ]})
    second = claude.messages.create(model="repair", max_tokens=100, messages=messages, tools=[CLAUDE_TOOL])
    strict(second)
    assert second.stop_reason == "end_turn"


def claude_stream() -> None:
    question = {"model": "repair", "max_tokens": 100, "messages": [{"role": "user", "content": "Repair it."}], "tools": [CLAUDE_TOOL]}
    kinds = []
    for event in claude.messages.create(stream=True, **question):
        strict(event)
        kinds.append(event.type)
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds
    with claude.messages.stream(**question) as stream:
        final = stream.get_final_message()
    assert final.content[0].text == "Let me look." and final.content[1].input == COMMAND
    whole = claude.messages.create(**question)
    assert final.usage.output_tokens == whole.usage.output_tokens


def responses_whole() -> None:
    tool = {"type": "function", "name": "bash", "parameters": {"type": "object", "properties": {}}, "strict": False}
    asked = [{"role": "user", "content": "Repair it."}]
    first = openai_client.responses.create(model="repair", input=asked, tools=[tool], store=False)
    strict(first)
    assert [item.type for item in first.output] == ["message", "function_call"] and first.output_text == "Let me look."
    assert first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens > 0
    asked += [item.model_dump(exclude_none=True) for item in first.output]
    asked.append({"type": "function_call_output", "call_id": first.output[1].call_id, "output": "pears = 3"})
    second = openai_client.responses.create(model="repair", input=asked, tools=[tool], store=False)
    strict(second)
    assert second.output_text.startswith("Done") and second.status == "completed"


def responses_stream() -> None:
    for tool in (
        {"type": "function", "name": "bash", "parameters": {"type": "object", "properties": {}}, "strict": False},
        {"type": "custom", "name": "bash"},
    ):
        kinds = []
        for event in openai_client.responses.create(model="repair", input="Repair it.", tools=[tool], stream=True):
            strict(event)
            assert event.sequence_number == len(kinds)
            kinds.append(event.type)
        assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed", kinds
        with openai_client.responses.stream(model="repair", input="Repair it.", tools=[tool]) as stream:
            for _ in stream:
                pass
            final = stream.get_final_response()
        assert final.output_text == "Let me look." and final.output[1].type == kinds_of(tool), final


def kinds_of(tool: dict) -> str:
    return "custom_tool_call" if tool["type"] == "custom" else "function_call"


def gemini() -> None:
    client = genai.Client(api_key="placeholder", http_options={"base_url": BASE})
    tools = [{"function_declarations": [{"name": "bash", "description": "runs", "parameters": {"type": "OBJECT", "properties": {"command": {"type": "STRING"}}}}]}]
    config = {"tools": tools, "automatic_function_calling": {"disable": True}, "temperature": 0.5, "system_instruction": "Be brief."}
    asked = [genai.types.Content(role="user", parts=[genai.types.Part(text="Repair it.")])]
    whole = client.models.generate_content(model="repair", contents=asked, config=config)
    strict(whole)
    assert whole.function_calls[0].args == COMMAND and whole.candidates[0].finish_reason == "STOP"
    chunks = list(client.models.generate_content_stream(model="repair", contents=asked, config=config))
    for chunk in chunks:
        strict(chunk)
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    assert "".join(part.text or "" for part in parts) == "Let me look." and parts[-1].function_call.args == COMMAND
    assert chunks[-1].usage_metadata.total_token_count == whole.usage_metadata.total_token_count
    asked.append(whole.candidates[0].content)
    asked.append(genai.types.Content(role="user", parts=[genai.types.Part(function_response={"name": "bash", "response": {"output": "pears = 3"}})]))
    second = client.models.generate_content(model="repair", contents=asked, config=config)
    assert second.text.startswith("Done"), second
    assert client.models.count_tokens(model="repair", contents="one two three").total_tokens > 0


def models() -> None:
    for listed in (openai_client.models.list(), claude.models.list()):
        assert [model.id for model in listed.data] == ["repair"]
        for model in listed.data:
            strict(model)


def errors() -> None:
    for call, expected in (
        (lambda: openai_client.chat.completions.create(model="repair", messages=[]), openai.BadRequestError),
        (lambda: openai_client.chat.completions.create(model="despair", messages=[{"role": "user", "content": "x"}]), openai.NotFoundError),
        (lambda: claude.messages.create(model="repair", max_tokens=0, messages=[{"role": "user", "content": "x"}]), anthropic.BadRequestError),
        (lambda: claude.messages.create(model="despair", max_tokens=9, messages=[{"role": "user", "content": "x"}]), anthropic.NotFoundError),
    ):
        try:
            call()
        except expected as error:
            assert error.body, error
        else:
            raise AssertionError(f"no {expected.__name__}")


for check in (chat_whole, chat_stream, claude_whole, claude_stream, responses_whole, responses_stream, gemini, models, errors):
    check()
    print("ok", check.__name__)
