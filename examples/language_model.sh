#!/usr/bin/env bash
# Tutorial: a small language model for this machine. `bash examples/language_model.sh [FOLDER OF .txt FILES]` in an empty folder.
# Without a folder it learns from the documentation that every Python brings along. It needs `pip install 'nasmyth[language]'`.
set -euo pipefail
texts=${1:-python-documentation}

# 1. The layers choose how they mix tokens. `nas spaces hybrid-slm` lists the options, and patterns that are published.
#    This is as small as it can be; nas/configs/language.yaml is the next larger one.
cat > writer.yaml <<YAML
name: writer
threads: 1
space:
  name: hybrid-slm
  options: {vocabulary: 400, prefill: [64], decode: [64, 512], widths: [32, 48], depths: [2, 3],
            mixers: [short_convolution, gated_linear_attention, attention], heads: 2, kv_heads: [1, 2], states: [16],
            ratios: [1, 2]}
task:
  kind: language
  data: "$texts"
  vocabulary: 400          # of the tokenizer that is trained on the texts
  sequence_length: 64
  evaluation_bytes: 5000
  recall: {share: 0.25, sequences: 32}   # can it find again what it has read?
training: {optimizer: adamw, learning_rate: 5e-3, batch_size: 16, epochs: 0.2}
search:
  objectives: [bits_per_byte, decode_512_ms.local]
  limits: ["prefill_64_ms.local <= 90 %"]
  evaluations: 12
export: {minimize: bits_per_byte}
YAML

# 2. The time to the first token and the time of each further one are calibrated apart, the latter at every length of context.
nas profile writer.yaml

# 3. Train, search, export, verify: the graphs continue a prompt as torch does, in the time that was predicted.
nas run writer.yaml

# 4. What is in the bundle writes text with onnxruntime, numpy and tokenizers only.
python runs/writer/exports/chosen/generate.py "The list " --tokens 40
