"""Text from the language model in this folder; needs onnxruntime, numpy and tokenizers.

python generate.py "Once upon a time" --tokens 200 --temperature 0.8
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Graphs:
    """The two graphs of a model, and the state that passes between them.

    Args:
        prefill: runs the graph of a prompt: outputs by name, of inputs by name.
        decode: runs that of the next token.
    """

    def __init__(self, prefill: Run, decode: Run) -> None:
        self._prefill, self._decode = prefill, decode
        self.state: dict[str, Any] = {}

    def start(self, tokens: Any) -> Any:
        """Logits (n, vocabulary) of what follows whole prompts, tokens int64 (n, t)."""
        return self._kept(self._prefill({"tokens": tokens}))

    def go_on(self, tokens: Any) -> Any:
        """Logits (n, vocabulary) of what follows one further token of each sequence, int64 (n,)."""
        return self._kept(self._decode({"tokens": tokens[:, None], **self.state}))

    def _kept(self, outputs: Mapping[str, Any]) -> Any:
        self.state = {name[: -len("_next")]: value for name, value in outputs.items() if name.endswith("_next")}
        return outputs["logits"][:, -1]


class LanguageModel:
    """The model with its tokenizer.

    Args:
        folder: where the files are.
        threads: of ONNX Runtime.
    """

    def __init__(self, folder: str | Path = ".", threads: int = 1) -> None:
        import tokenizers

        folder = Path(folder)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.end, self.context, self.longest_prompt = (manifest[name] for name in ("end", "context", "prompt"))
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.graphs = Graphs(*(_loaded(folder / name, threads) for name in ("prefill.onnx", "decode.onnx")))

    def tokens(self, prompt: str, count: int = 200, temperature: float = 0.0, seed: int | None = None) -> Iterator[int]:
        """Numbers of the tokens that follow a prompt.

        Args:
            prompt: the beginning of a text.
            count: of tokens at most; an end of the text, or of the room that the model has, comes first.
            temperature: 0 for the likeliest token each time, 1 for a draw with the model's own probabilities.
            seed: of the draws.
        """
        rng = np.random.default_rng(seed)
        start = [self.end, *self.tokenizer.encode(prompt).ids]
        if self.context is not None:
            count = min(count, self.context - len(start) + 1)
        logits = self._after(start)
        for number in range(count):
            token = _drawn(logits, temperature, rng)
            if token == self.end:
                return
            yield token
            if number < count - 1:
                logits = self.graphs.go_on(np.array([token], dtype=np.int64))[0]

    def _after(self, start: list[int]) -> Any:
        """Logits after a prompt; of a very long one the end is read token by token."""
        logits = self.graphs.start(np.array([start[: self.longest_prompt]], dtype=np.int64))
        for token in start[self.longest_prompt or len(start) :]:
            logits = self.graphs.go_on(np.array([token], dtype=np.int64))
        return logits[0]

    def generate(
        self, prompt: str, count: int = 200, temperature: float = 0.0, seed: int | None = None
    ) -> Iterator[str]:
        """The text that follows a prompt, piece by piece; the arguments are those of `tokens`."""
        found: list[int] = []
        told = ""
        for token in self.tokens(prompt, count, temperature, seed):
            found.append(token)
            text = self.tokenizer.decode(found)
            if not text.endswith("\N{REPLACEMENT CHARACTER}"):  # a character may be several tokens
                yield text[len(told) :]
                told = text


def _loaded(file: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs))))  # noqa: B905 (Python 3.9)


def _drawn(logits: Any, temperature: float, rng: np.random.Generator) -> int:
    if temperature <= 0:
        return int(logits.argmax())
    scaled = logits.astype(np.float64) / temperature
    shares = np.exp(scaled - scaled.max())
    return int(rng.choice(len(shares), p=shares / shares.sum()))


def main() -> None:
    """Print a prompt and what follows it."""
    parser = argparse.ArgumentParser(description="Text from the language model in this folder.")
    parser.add_argument("prompt", nargs="?", default="", help="the beginning of the text")
    parser.add_argument("--tokens", type=int, default=200, help="how many at most")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 for the likeliest tokens, 1 for random ones")
    parser.add_argument("--seed", type=int, default=None, help="of the random ones")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    model = LanguageModel(Path(__file__).parent, given.threads)
    print(given.prompt, end="", flush=True)
    for piece in model.generate(given.prompt, given.tokens, given.temperature, given.seed):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
