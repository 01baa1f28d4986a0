#!/usr/bin/env bash
# Tutorial: a language model that exists becomes a faster one. `bash examples/your_pretrained_model.sh [DIR]` in an empty folder,
# where DIR is a Llama, Qwen2 or Qwen3 that transformers wrote, with its tokenizer.json. Without it a model of toy size is made, with
# random weights. It needs `pip install 'nasmyth[language]' transformers`.
set -euo pipefail
model=${1:-toy}

if [ "$model" = toy ]; then
    python - <<'PYTHON'
import pydoc_data.topics

import transformers
from tokenizers import ByteLevelBPETokenizer

tokenizer = ByteLevelBPETokenizer()
tokenizer.train_from_iterator(
    pydoc_data.topics.topics.values(), vocab_size=400, special_tokens=["<|endoftext|>"], show_progress=False
)
sizes = transformers.LlamaConfig(
    vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1
)
transformers.LlamaForCausalLM(sizes).save_pretrained("toy")
tokenizer.save("toy/tokenizer.json")
PYTHON
fi

# 1. The texts that the smaller networks learn from, in the model's own tokens: here the documentation that Python brings along.
cat > texts.yaml <<YAML
name: faster
threads: 1
task: {kind: language, data: python-documentation, tokenizer: $model/tokenizer.json, sequence_length: 64, evaluation_bytes: 5000}
YAML

# 2. A search space around the model: its largest network is the model itself, with its weights. Layers may be left out (which
#    ones is found by dynamic programming), heads and hidden units too (the least important first), and gated linear
#    attention may stand in for attention, of which it keeps the weights and learns to do the same before anything else.
nas spaces hybrid-slm --checkpoint "$model" --depth 2 --depth 3 --mixer gated_linear_attention --texts texts.yaml > sections.yaml
cat sections.yaml

# 3. The whole configuration: what the model is, the texts, a short training, and what is searched for.
python - <<'PYTHON'
import yaml

config = yaml.safe_load(open("texts.yaml")) | yaml.safe_load(open("sections.yaml"))
config["space"]["options"] |= {"prefill": [64], "decode": [64, 512]}  # lengths that matter to you, in tokens
config["training"] |= {"optimizer": "adamw", "learning_rate": 1e-3, "batch_size": 16, "epochs": 0.1}
config["search"] = {"objectives": ["bits_per_byte", "decode_512_ms.local"], "evaluations": 12}
config["search"]["limits"] = ["decode_512_ms.local <= 95 %"]
yaml.safe_dump(config, open("faster.yaml", "w"), sort_keys=False)
PYTHON
nas run faster.yaml
nas front runs/faster

# 4. Another choice of the same search, and whether it keeps its promises here.
nas export runs/faster --minimize decode_512_ms.local --to chosen
nas verify chosen
