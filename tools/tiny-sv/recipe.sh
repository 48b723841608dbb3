#!/usr/bin/env bash
# Make the tiny Swedish Whisper and its held-out speech from nothing: about two hours on two CPU cores.
#
#   ./recipe.sh WORK            into a new directory WORK; the model ends up in WORK/model
#   SCALE=0.002 ./recipe.sh W   the same steps with 0.2 % of the data and the minutes, to see that they run
#
# Needs espeak-ng (apt install espeak-ng) and: pip install torch transformers soundfile soxr jiwer
set -euo pipefail
cd "$(dirname "$0")"
work=${1:?usage: recipe.sh WORK}
python=${PYTHON:-python3}
scale=${SCALE:-1}
mkdir -p "$work"

scaled() { "$python" -c "print(max($1 * $scale, $2))"; }      # minutes
count() { "$python" -c "print(max(int($1 * $scale), $2))"; }  # utterances
train() { "$python" train.py "$@" --tokenizer "$work/tokenizer" --log-every "${LOG_EVERY:-50}"; }

# Tokenizer, and data for the first, too ambitious grammar of 300 words.
"$python" build_tokenizer.py "$work/tokenizer"
"$python" make_bank.py 2 "$(count 400 40)" "$work/dev1" --grammar grammar_full
"$python" make_bank.py 1 "$(count 24000 60)" "$work/bank1" --grammar grammar_full --exclude "$work/dev1"

# 1. Short crops, three decoder layers. It learned sounds and words here, and no times.
train "$work/ck1.pt" --minutes "$(scaled 7.5 0.1)" --decoder-layers 3 --bank "$work/bank1" --dev "$work/dev1" \
  --stages '[[0.5, 4, 24, true], [1.01, 6, 16, false]]'
# 2. Give it times to start from, and go on with longer crops.
"$python" surgery.py "$work/ck1.pt" "$work/ck1s.pt" --tokenizer "$work/tokenizer" --bank "$work/bank1"
train "$work/ck2.pt" --minutes "$(scaled 12.5 0.1)" --decoder-layers 3 --bank "$work/bank1" --dev "$work/dev1" \
  --init "$work/ck1s.pt" --peak 1.8e-3 --stages '[[0.38, 6, 16, false], [1.01, 12, 8, false]]'
# 3. A fourth decoder layer; decoder alone, full windows.
"$python" train_decoder.py "$work/ck2.pt" "$work/ck3.pt" --minutes "$(scaled 7.5 0.1)" --peak 1.5e-3 \
  --tokenizer "$work/tokenizer" --bank "$work/bank1"
# 4. The grammar of 173 words.
"$python" make_bank.py 2 "$(count 400 40)" "$work/dev2"
"$python" make_bank.py 1 "$(count 12000 60)" "$work/bank2" --exclude "$work/dev2"
train "$work/ck4.pt" --minutes "$(scaled 7.5 0.1)" --bank "$work/bank2" --dev "$work/dev2" --init "$work/ck3.pt" \
  --peak 1.2e-3 --stages '[[1.01, 8, 12, false]]'
# 5 and 6. Full windows: decoder alone, then all weights.
"$python" train_decoder.py "$work/ck4.pt" "$work/ck5.pt" --minutes "$(scaled 9 0.1)" --peak 1.3e-3 \
  --tokenizer "$work/tokenizer" --bank "$work/bank2"
train "$work/ck6.pt" --minutes "$(scaled 10 0.1)" --bank "$work/bank2" --dev "$work/dev2" --init "$work/ck5.pt" \
  --peak 6e-4 --stages '[[1.01, 30, 4, false]]'
# Held-out speech; from here on none of its sentences is trained on.
"$python" make_eval.py "$work/eval" --exclude "$work/bank2" --also-exclude "$work/dev2"
# 7. Fresh sentences.
"$python" make_bank.py 3 "$(count 9000 60)" "$work/bank3" --exclude "$work/eval/sentences"
train "$work/ck7.pt" --minutes "$(scaled 5 0.1)" --bank "$work/bank3" --dev "$work/dev2" --init "$work/ck6.pt" \
  --peak 4e-4 --stages '[[1.01, 30, 4, false]]'
# 8. More of them, and longer: this took the word error rate from 8 % to 3 %.
"$python" make_bank.py 11 "$(count 30000 60)" "$work/bank8" --exclude "$work/eval/sentences"
train "$work/ck8.pt" --minutes "$(scaled 42 0.1)" --bank "$work/bank8" --dev "$work/dev2" --init "$work/ck7.pt" \
  --peak 8e-4 --stages '[[1.01, 30, 6, false]]'
"$python" export.py "$work/ck8.pt" "$work/model" --tokenizer "$work/tokenizer"
"$python" evaluate.py "$work/model" "$work/eval"
