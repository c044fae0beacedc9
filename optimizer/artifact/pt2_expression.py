"""The symbolic expressions in a .pt2 archive, checked against a grammar.

torch's own loader evaluates them as Python. Nothing here does, and an archive is refused unless each of its expressions
is a plain tree of known sums, products and comparisons: Mul(Integer(2), Symbol('s77', positive=True, integer=True)).
"""

import re

_CHARACTERS = 4000
_DEPTH = 40

_FUNCTIONS = frozenset(
    {
        "Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv",
        "CeilDiv", "CleanDiv", "IntTrueDiv", "FloatTrueDiv", "PowByNatural", "FloatPow", "ModularIndexing", "Where",
        "ToFloat", "TruncToInt", "TruncToFloat", "CeilToInt", "FloorToInt", "RoundToInt", "LShift", "RShift",
        "Identity", "Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan", "And",
        "Or", "Not", "floor", "ceiling",
    }
)  # fmt: skip
_KEYWORDS = frozenset({"integer", "positive", "nonnegative", "nonzero", "real", "even", "odd", "commutative"})
_WORDS = frozenset({"true", "false", "True", "False"})
_SYMBOL = re.compile(r"[a-z]{1,8}[0-9]{1,9}")
_SYMBOL_CALL = re.compile(r"Symbol\('([a-z]{1,8}[0-9]{1,9})'(?:, [a-z]+=(?:True|False))*\)")
_TOKEN = re.compile(r"\s*(?:([A-Za-z]+)|(-?[0-9]{1,19}(?:\.[0-9]{1,19})?)|'([A-Za-z0-9.+-]{1,40})'|([(),=]))")
_NUMBER = re.compile(r"-?[0-9]{1,19}(\.[0-9]{0,30})?(e[+-]?[0-9]{1,4})?")


class NotAnExpression(ValueError):
    """The text is no expression that an archive may hold."""


def check_expression(text: str) -> None:
    """Raises NotAnExpression unless `text` is an expression of the grammar."""
    if len(text) > _CHARACTERS:
        raise NotAnExpression(f"has {len(text)} characters; at most {_CHARACTERS} are allowed")
    tokens = _tokens(text)
    end = _expression(tokens, 0, 0)
    if end != len(tokens):
        raise NotAnExpression("goes on after its end")


def symbol_of(text: str) -> str | None:
    """The name of the symbol that is the whole of a checked expression, or None for a compound one."""
    match = _SYMBOL_CALL.fullmatch(text.strip())
    return match.group(1) if match else None


def is_symbol(name: str) -> bool:
    """Whether this is how symbols are called ("s77")."""
    return _SYMBOL.fullmatch(name) is not None


_Token = tuple[str, str]


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotAnExpression(f"has {text[position : position + 20]!r}, which no expression has")
        word, number, quoted, sign = match.groups()
        if word:
            found.append(("word", word))
        elif number:
            found.append(("number", number))
        elif quoted:
            found.append(("quoted", quoted))
        else:
            found.append((sign, sign))
        position = match.end()
    return found


def _expression(tokens: list[_Token], position: int, depth: int) -> int:
    """The position after the expression that begins at `position`."""
    if depth > _DEPTH:
        raise NotAnExpression(f"is nested more than {_DEPTH} levels deep")
    kind, value = _at(tokens, position)
    if kind == "number":
        return position + 1
    if kind != "word":
        raise NotAnExpression(f"has {value!r} where a term should begin")
    if value in _WORDS and _at(tokens, position + 1)[0] != "(":
        return position + 1
    if value not in _FUNCTIONS:
        raise NotAnExpression(f"uses {value[:40]!r}, which no expression has")
    return _arguments(tokens, position + 1, value, depth)


def _arguments(tokens: list[_Token], position: int, function: str, depth: int) -> int:
    _expect(tokens, position, "(")
    position += 1
    while True:
        kind, value = _at(tokens, position)
        if kind == "quoted":
            named = function == "Symbol" and _SYMBOL.fullmatch(value)
            if not named and not (function == "Float" and _NUMBER.fullmatch(value)):
                raise NotAnExpression(f"quotes {value!r} in {function}")
            position += 1
        elif kind == "word" and _at(tokens, position + 1)[0] == "=":
            position = _keyword(tokens, position, function)
        elif function == "Symbol":
            raise NotAnExpression("has a symbol without a plain name")
        else:
            position = _expression(tokens, position, depth + 1)
        if _at(tokens, position)[0] == ")":
            return position + 1
        _expect(tokens, position, ",")
        position += 1


def _keyword(tokens: list[_Token], position: int, function: str) -> int:
    name, value = tokens[position][1], _at(tokens, position + 2)
    assumption = function == "Symbol" and name in _KEYWORDS and value in (("word", "True"), ("word", "False"))
    precision = function == "Float" and name in ("precision", "dps", "prec") and value[0] == "number"
    evaluate = name == "evaluate" and value in (("word", "True"), ("word", "False"))
    if not (assumption or precision or evaluate):
        raise NotAnExpression(f"sets {name[:40]!r} in {function}")
    return position + 3


def _expect(tokens: list[_Token], position: int, sign: str) -> None:
    if _at(tokens, position)[0] != sign:
        raise NotAnExpression(f"lacks a {sign!r}")


def _at(tokens: list[_Token], position: int) -> _Token:
    return tokens[position] if position < len(tokens) else ("", "")
