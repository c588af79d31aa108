"""Writes generation.json, what transformers' generate answers, and generation/, the models that it asks.

Small models of MarianMT and GPT-2 with random weights. Each case has the n best of a beam search, as many
as it keeps, and their scores; cases with rules about tokens or with target prefixes say these too. Kept are
cases whose answers do not change when log-probabilities are off by 1e-5, so that a machine's rounding decides
none. Beside them, what sampling's filters leave of logits.

Run by hand, in an environment with:  pip install torch==2.11.0 transformers==5.23.0
    python tests/golden/make_generation_fixtures.py
"""

import itertools
import json
import pathlib

import torch
from transformers import (GPT2Config, GPT2LMHeadModel, LogitsProcessorList, MarianConfig, MarianMTModel,
                          TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper)

HERE = pathlib.Path(__file__).parent
VOCAB, PAD, MARIAN_EOS, GPT2_EOS = 23, 22, 0, 22
NOISE = 1e-5
# Sets of rules, and beams, end conditions and a limit for each.
RULES = [
    {"repetition_penalty": 1.4}, {"repetition_penalty": 0.8}, {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2}, {"no_repeat_ngram_size": 3}, {"min_length": 8}, {"min_new_tokens": 5},
    {"forced_bos_token_id": 7}, {"suppress_tokens": [3, 18, 12]}, {"suppress_tokens": [0]},
    {"begin_suppress_tokens": [4, 5, 13, 18, 19]}, {"bad_words_ids": [[22], [0], [18, 18], [12, 12, 12], [5, 12]]},
    {"exponential_decay_length_penalty": [2, 1.3]}, {"exponential_decay_length_penalty": [0, 0.7]},
    {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "min_length": 5, "begin_suppress_tokens": [0, 18]},
    {"forced_bos_token_id": 9, "begin_suppress_tokens": [12, 18], "repetition_penalty": 1.2, "suppress_tokens": [16]},
    {"min_new_tokens": 7, "exponential_decay_length_penalty": [4, 1.6], "bad_words_ids": [[22], [18, 18, 18]]},
]
PREFIXES = [[[7], [13, 19], [18, 4, 12]], [[18, 18, 18, 18], [], [5]]]


def marian(seed):
    torch.manual_seed(seed)
    model = MarianMTModel(MarianConfig(
        vocab_size=VOCAB, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=12, decoder_ffn_dim=12, max_position_embeddings=32,
        activation_function="swish", scale_embedding=True, pad_token_id=PAD, eos_token_id=MARIAN_EOS,
        bos_token_id=MARIAN_EOS, decoder_start_token_id=PAD, forced_eos_token_id=None, init_std=0.6)).eval()
    model.final_logits_bias.normal_()
    model.final_logits_bias[0, MARIAN_EOS] += 3.0
    own = model.generation_config
    own.bad_words_ids, own.eos_token_id, own.pad_token_id = [[PAD]], MARIAN_EOS, PAD
    own.decoder_start_token_id = PAD
    # What the folder says; the cases say all of it themselves.
    own.num_beams, own.early_stopping, own.length_penalty, own.max_length = 3, True, 0.6, 9
    own.forced_eos_token_id, own.renormalize_logits = MARIAN_EOS, True
    source = torch.tensor([[5, 9, 3, 17, 2, MARIAN_EOS], [8, 8, 14, MARIAN_EOS, PAD, PAD],
                           [19, MARIAN_EOS, PAD, PAD, PAD, PAD]])
    return model, source, source.ne(PAD).long(), MARIAN_EOS


def gpt2(seed):
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_positions=24, n_embd=8, n_layer=1, n_head=2,
                                       bos_token_id=GPT2_EOS, eos_token_id=GPT2_EOS)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.6)
    prompt = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 7, 7]])
    return model, prompt, torch.ones_like(prompt), GPT2_EOS


class Noise:
    def __init__(self):
        self.generator = torch.Generator().manual_seed(1)

    def __call__(self, ids, scores):
        return scores + NOISE * torch.randn(scores.shape, generator=self.generator)


def answer(model, ids, mask, end, case, noise=False):
    """For each sentence its hypotheses, best first: tokens without start and end, whether they end, score."""
    if "prefixes" in case:  # generate has one length for a batch
        single = {key: value for key, value in case.items() if key != "prefixes"}
        return [answer(model, row[None], its_mask[None], end, single | {"prefix": prefix}, noise)[0]
                for row, its_mask, prefix in zip(ids, mask, case["prefixes"])]
    forced = {"forced_eos_token_id": end if case["forced_eos"] else None}
    forced |= {key: value for key, value in case.get("rules", {}).items() if key != "bad_words_ids"}
    if case.get("prefix"):
        forced["decoder_input_ids"] = torch.tensor([[model.config.decoder_start_token_id, *case["prefix"]]])
    with torch.no_grad():
        out = model.generate(
            input_ids=ids, attention_mask=mask, num_beams=case["num_beams"],
            num_return_sequences=case["num_beams"], early_stopping=case["early_stopping"],
            length_penalty=case["length_penalty"], max_length=case["max_length"], do_sample=False,
            renormalize_logits=case["renormalize_logits"], bad_words_ids=case["bad_words_ids"] or None,
            return_dict_in_generate=True, output_scores=True, pad_token_id=PAD,
            logits_processor=LogitsProcessorList([Noise()] if noise else []), **forced)
    first = 1 if model.config.is_encoder_decoder else ids.shape[1]
    scores = out.sequences_scores.tolist() if case["num_beams"] > 1 else [None] * len(ids)
    found = []
    for row, score in zip(out.sequences[:, first:].tolist(), scores):
        ended = end in row
        found.append({"tokens": row[:row.index(end)] if ended else row, "ended": ended, "score": score})
    k = case["num_beams"]
    return [found[i:i + k] for i in range(0, len(found), k)]


def is_possible(found):
    """Whether all hypotheses have a probability: generate fills a beam with tokens that it may not choose."""
    return all(one["score"] is None or one["score"] > -1e6 for sentence in found for one in sentence)


def tokens(sentences):
    return [[(one["tokens"], one["ended"]) for one in sentence] for sentence in sentences]


def groups_of_cases(model, ids, mask, end):
    """Cases that differ in early_stopping alone, by three."""
    groups = []
    settings = itertools.product((1, 2, 3, 5), (0.0, 0.6, 1.0, 2.0), (6, 18), (False, True))
    for number, (beams, penalty, length, forced) in enumerate(settings):
        bad = [[PAD]] if model.config.is_encoder_decoder else []
        group = []
        for early in (False, True, "never"):
            case = {"num_beams": beams, "early_stopping": early, "length_penalty": penalty,
                    "max_length": length, "forced_eos": forced, "renormalize_logits": number % 5 == 1,
                    "bad_words_ids": bad + ([[4], [11]] if number % 7 == 3 else [])}
            found = answer(model, ids, mask, end, case)
            assert is_possible(found)
            if tokens(found) == tokens(answer(model, ids, mask, end, case, noise=True)):
                group.append(case | {"found": found})
        groups.append(group)
    return groups


def chosen(groups):
    """Half of the groups where early_stopping matters, and of a third of the others one case."""
    differing = [group for group in groups if len(group) == 3
                 and tokens(group[0]["found"]) != tokens(group[1]["found"])]
    others = [group for group in groups if group and group not in differing]
    return [case for group in differing[::2] for case in group] + [group[0] for group in others[::3]], len(differing)


def cases_with_rules(model, ids, mask, end):
    """Those that rounding does not decide."""
    bad = [[PAD]] if model.config.is_encoder_decoder else []
    prefixes = PREFIXES if model.config.is_encoder_decoder else []
    special = [{"rules": rules} for rules in RULES] + [{"prefixes": given} for given in prefixes]
    special += [{"prefixes": given, "rules": rules} for given in prefixes for rules in RULES[::3]]
    settings = itertools.cycle(itertools.product((False, True, "never"), (False, True), (10, 18), (False, True)))
    kept, tried = [], 0
    for one in special:
        for beams in (1, 4):
            early, forced, length, renormalize = next(settings)
            case = {"num_beams": beams, "early_stopping": early, "length_penalty": 1.0, "max_length": length,
                    "forced_eos": forced and one.get("rules", {}).get("suppress_tokens") != [0],
                    "renormalize_logits": renormalize, "bad_words_ids": one.get("rules", {}).get("bad_words_ids", bad),
                    **one}
            found = answer(model, ids, mask, end, case)
            tried += 1
            if is_possible(found) and tokens(found) == tokens(answer(model, ids, mask, end, case, noise=True)):
                kept.append(case | {"found": found})
    return kept, tried


def filters():
    """The places that sampling's filters leave, of three rows of logits."""
    logits = 2 * torch.randn(3, VOCAB, generator=torch.Generator().manual_seed(3))
    cases = []
    for temperature, k, p in itertools.product((0.5, 1.0, 1.7), (0, 1, 4), (0.3, 0.8, 1.0)):
        scores = TemperatureLogitsWarper(temperature)(None, logits)
        scores = TopKLogitsWarper(k)(None, scores) if k else scores
        scores = TopPLogitsWarper(p)(None, scores) if p < 1 else scores
        cases.append({"temperature": temperature, "top_k": k, "top_p": p,
                      "kept": [row.isfinite().nonzero().flatten().tolist() for row in scores]})
    return {"logits": logits.tolist(), "cases": cases}


def main():
    torch.use_deterministic_algorithms(True)
    cases = {}
    for name, make, seed in (("marian", marian, 5), ("gpt2", gpt2, 7)):
        model, ids, mask, end = make(seed)
        kept, differing = chosen(groups_of_cases(model, ids, mask, end))
        ends = [one["ended"] for case in kept for sentence in case["found"] for one in sentence]
        ruled, tried = cases_with_rules(model, ids, mask, end)
        print(f"{name}: {len(kept)} cases, {differing} groups where early_stopping matters, "
              f"{sum(ends)} of {len(ends)} hypotheses end; {len(ruled)} of {tried} cases with rules")
        model.save_pretrained(HERE / "generation" / name)
        cases[name] = {"ids": ids.tolist(), "cases": kept + ruled}
    cases["filters"] = filters()
    text = json.dumps(cases, separators=(",", ":"))
    for key in ("num_beams", "temperature"):
        text = text.replace(f'{{"{key}"', f'\n{{"{key}"')
    (HERE / "generation.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
