"""Writes metrics.json: sacreBLEU's scores for small corpora full of traps.

Run by hand, in an environment with:  pip install sacrebleu==2.6.0
    python tests/golden/make_metrics.py
"""

import json
import pathlib

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF

OUTPUT = pathlib.Path(__file__).parent / "metrics.json"

# name: pairs of hypothesis and reference
CORPORA = {
    "plain": [
        ("A brown dog runs across the wet sand.", "A brown dog is running over the wet sand."),
        ("Two children paint a wall, slowly.", "Two kids are painting a wall, slowly."),
        ("The musician tunes his old violin.", "The musician tunes his old violin."),
    ],
    "numbers": [
        ("It cost 1,234.50 dollars in 1999.", "It cost 1,234.5 dollars in 1999 ."),
        ("Pi is 3.14159, not 3,2.", "Pi is 3.14159 , not 3.2 ."),
        ("Pages 10-12 and 2019-2020, v1.2.3", "Pages 10 - 12 and 2019-20, v1.2.3."),
        (".5 or 5. or ,5, or 5,", "0.5 or 5 . or , 5 , or 5"),
        ("½ cup, Ⅳ times, ٣٫٥ or 三.五; x²,", "½ cup , Ⅳ times , ٣٫٥ or 三 . 五 ; x² ,"),
    ],
    "entities": [
        ("&quot;Salt &amp; pepper&quot; &lt;now&gt;", '"Salt & pepper" <now>'),
        ("&amp;lt;b&amp;gt; &apos;x&apos; &", "&lt;b&gt; 'x' &amp;"),
        ("one <skipped> two<skipped>three", "one two three"),
        ("a&amp;quot;b", 'a"b'),
    ],
    "punctuation": [
        ("Wait... what?! (yes) [no] {maybe}", "Wait ... what ?! ( yes ) [ no ] { maybe }"),
        ("« Bonjour », dit-il — l’été…", "«Bonjour», dit-il – l'été..."),
        ("“Quoted”, ‘single’; e-mail: a_b@c.de/f", '"Quoted", \'single\'; e-mail : a_b@c.de / f'),
        ("5€ + 3$ = 8£ ~ 50% ^ 2 ° © ™ ∑ 🙂.", "5 € + 3 $ = 8 £ ~ 50 % ^ 2 ° © ™ ∑ 🙂 ."),
        ("-- - --- 3-4 a-b 3- -4 .,.,", "- -- --- 3 - 4 a-b 3 - -4 . , . ,"),
        ("don't stop, it's o'clock!!", "do n't stop , it 's o'clock !"),
    ],
    "spaces": [
        ("  two   spaces \t and a tab  ", "two spaces and a tab"),
        ("no\u00a0break\u202fspaces\u2003here\u3000too", "no break spaces here too"),
        ("next\u0085line \u2028 separator\u2029", "next line separator"),
        ("zero\u200bwidth \ufeffmark \u2060joiner", "zero width mark joiner"),
        ("unit\x1fseparator \x1c file \x0b tab", "unit separator file tab"),
        ("bell\x07 null\x00 escape\x1b[0m del\x7f", "bell null escape[0m del"),
        ("line\nbreak hy-\nphen", "line break hyphen"),
        ("cut off-\n", "cut off-"),
        ("in 2019. ", "in 2019."),
    ],
    "scripts": [
        ("我喜欢喝茶，你呢？", "我很喜欢喝茶， 你呢 ？"),
        ("東京タワーは高い。", "東京 タワー は とても 高い 。"),
        ("Привет, как дела?", "Привет! Как твои дела?"),
        ("السلام عليكم، كيف الحال؟", "السلام عليكم ، كيف حالك ؟"),
        ("नमस्ते दुनिया।", "नमस्ते , दुनिया ।"),
        ("cafe\u0301 nai\u0308ve o\u0302\u0323", "café naïve ộ"),
        ("👩\u200d👩\u200d👧 family 🇫🇷 flag 👍🏽", "👩 family 🇫🇷 flag 👍"),
    ],
    "case": [
        ("The CAT sat on THE Mat", "the cat SAT on the mat"),
        ("ΟΔΥΣΣΕΥΣ ΣΑΣ Σ ΑΣ.", "οδυσσευς σας σ ας."),
        ("İstanbul IĞDIR Straße STRASSE ẞ", "i̇stanbul iğdir straße strasse ß"),
        ("ǅ Ǆ Ω K Å Ⅷ Ⓐ", "ǆ ǆ ω k å ⅷ ⓐ"),
    ],
    "short": [("a", "a"), ("b c", "b"), ("d", "d e"), ("f.", "f")],
    "two_words": [("good morning", "good morning"), ("hello there", "hello you")],
    "empty_lines": [("", "a b c d e"), ("a b c d e", ""), ("", ""), ("x y z w v", "x y z w u")],
    "no_match": [("alpha beta gamma delta", "one two three four"), ("b", "u i o p")],
    "all_empty_system": [("", "a b c"), ("   ", "d")],
    "all_empty_reference": [("a b c", ""), ("d e", "   ")],
    "all_empty": [("", ""), ("  ", "\t")],
    "one_empty_line": [("", "")],
    "longer": [("the the the the the the the house is is red red", "the house is red")],
    "shorter": [("the house is", "the house is red and the garden behind it is green")],
}

BLEU_SETTINGS = [
    {"tokenize": tokenize, "lowercase": lowercase, "smooth_method": "exp"}
    for tokenize in ("none", "13a", "intl", "char")
    for lowercase in (False, True)
] + [
    {"tokenize": "13a", "lowercase": False, "smooth_method": method, "smooth_value": value}
    for method, value in (
        ("none", None),
        ("floor", None),
        ("floor", 0.25),
        ("add-k", None),
        ("add-k", 0.5),
    )
]

CHRF_SETTINGS = [
    {"char_order": char_order, "word_order": word_order, "beta": beta, "lowercase": lowercase}
    for char_order, word_order, beta, lowercase in (
        (6, 0, 2, False),
        (6, 2, 2, False),
        (6, 2, 2, True),
        (4, 1, 3, False),
        (2, 0, 1, True),
    )
]


def signature(metric):
    """The signature without its last field, the version, which is this package's own."""
    return metric.get_signature().format().rpartition("|")[0]


def bleu_case(name, hypotheses, references, settings):
    metric = BLEU(force=True, **settings)
    result = metric.corpus_score(hypotheses, [references])
    return {
        "corpus": name,
        **{key: value for key, value in settings.items() if value is not None},
        "score": result.score,
        "precisions": result.precisions,
        "brevity_penalty": result.bp,
        "sys_len": result.sys_len,
        "ref_len": result.ref_len,
        "ratio": result.ratio,
        "signature": signature(metric),
    }


def chrf_case(name, hypotheses, references, settings):
    metric = CHRF(**settings)
    result = metric.corpus_score(hypotheses, [references])
    return {"corpus": name, **settings, "score": result.score, "signature": signature(metric)}


def main():
    corpora = {
        name: {"hypotheses": [h for h, _ in pairs], "references": [r for _, r in pairs]}
        for name, pairs in CORPORA.items()
    }
    document = {
        "sacrebleu": sacrebleu.__version__,
        "corpora": corpora,
        "bleu": [
            bleu_case(name, **corpus, settings=settings)
            for name, corpus in corpora.items()
            for settings in BLEU_SETTINGS
        ],
        "chrf": [
            chrf_case(name, **corpus, settings=settings)
            for name, corpus in corpora.items()
            for settings in CHRF_SETTINGS
        ],
    }
    # One case a line, so that a change of one shows as one.
    lines = json.dumps(document).replace('{"corpus"', '\n{"corpus"').replace('"bleu"', '\n"bleu"')
    OUTPUT.write_text(lines.replace('"chrf"', '\n"chrf"') + "\n")


if __name__ == "__main__":
    main()
