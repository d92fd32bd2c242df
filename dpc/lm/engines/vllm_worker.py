"""What vLLM's own Python runs: answers batches of embedded prompts, one JSON line on stdin for each.

vLLM pins a transformers of its own, so it lives in an environment of its own, without this package: nothing is imported
from it here. A line names a file of embeddings (safetensors: `0`, `1`, ..., each T x D), how to end an answer, and the
file that the tokens are written to. When stdin ends, so does this process, with all that vLLM has started.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path


def main() -> None:
    """Load the model that the arguments name, then answer line by line."""
    folder, options = sys.argv[1], json.loads(sys.argv[2])
    lines: list[str] = []
    arrived = threading.Condition()
    threading.Thread(target=_listen, args=(lines, arrived), daemon=True).start()
    from vllm import LLM  # type: ignore[import-not-found]

    llm = LLM(folder, enable_prompt_embeds=True, seed=0, **options)
    while True:
        with arrived:
            arrived.wait_for(lambda: bool(lines))
            line = lines.pop(0)
        _answer(llm, json.loads(line))


def _listen(lines: list[str], arrived: threading.Condition) -> None:
    for line in sys.stdin:
        with arrived:
            lines.append(line)
            arrived.notify()
    os.killpg(0, signal.SIGKILL)  # whoever asked is gone, or has all it wanted


def _answer(llm, asked) -> None:  # type: ignore[no-untyped-def]
    """Answer one batch; the file of tokens appears whole."""
    from safetensors.torch import load_file
    from vllm import SamplingParams

    embeds = load_file(asked["embeds"])
    ends = {"stop": asked["stop"], "include_stop_str_in_output": True, "stop_token_ids": asked["end_ids"]}
    how = SamplingParams(temperature=0, max_tokens=asked["max_new_tokens"], **ends)
    prompts = [{"prompt_embeds": embeds[str(place)]} for place in range(len(embeds))]
    found = llm.generate(prompts, how, use_tqdm=False)
    part = Path(asked["tokens"] + ".part")
    part.write_text(json.dumps([list(one.outputs[0].token_ids) for one in found]))
    part.replace(asked["tokens"])


if __name__ == "__main__":  # vLLM starts processes that import this file
    main()
