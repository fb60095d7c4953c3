"""Text that no file could hold is refused by every YAML reader alike."""

import pytest
import yaml

from distill.schema import plain_yaml
from distill.schema.plain_yaml import read_yaml


@pytest.mark.parametrize("base", [yaml.SafeLoader, plain_yaml._SafeLoader])
@pytest.mark.parametrize("text", ['a: "\\ud800"', '"\\udfff": 1', 'a: ["\\ud83d\\ude00"]'])
def test_half_a_surrogate_pair_is_refused(text: str, base: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_yaml, "_SafeLoader", base)
    with pytest.raises(yaml.YAMLError, match=r"(?s)surrogate|Unicode.*line 1"):
        read_yaml(text)


def test_characters_beyond_the_basic_plane_are_text() -> None:
    assert read_yaml('a: "\\U0001F600 😀"') == {"a": "😀 😀"}
