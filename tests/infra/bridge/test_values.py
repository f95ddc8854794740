"""Values through both wire forms and back."""

from __future__ import annotations

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from infra.toolchain.bridge.values import UNKNOWN, Value, decode, encode, pack, texts, unpack

from .samples import TEXTS

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), TEXTS, st.just(UNKNOWN)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)


@given(OBJECTS)
def test_pulumis_form_gives_back_what_was_put_in(values: dict[str, Value]) -> None:
    """A struct holds every value, unknown ones too."""
    assert values == decode(encode(values)).values


@given(OBJECTS)
def test_terraforms_form_gives_back_what_was_put_in(values: dict[str, Value]) -> None:
    """Msgpack holds every value, unknown ones too."""
    assert values == unpack(pack(values))


@given(OBJECTS, st.sets(TEXTS, max_size=4))
def test_secrets_are_marked_and_found_again(values: dict[str, Value], keys: set[str]) -> None:
    """A key marked secret is unwrapped on the way in, and every text inside it is remembered."""
    decoded = decode(encode(values, keys))
    assert values == decoded.values
    assert decoded.secret_keys == keys.intersection(values)
    assert {text for key in decoded.secret_keys for text in texts(values[key])} == decoded.secret_texts


def test_a_secret_inside_a_list_marks_its_property() -> None:
    """Pulumi marks single elements; an output is marked as a whole."""
    secret = encode({"secret": "hidden"}, {"secret"}).fields["secret"]
    struct = struct_pb2.Struct()
    struct.fields["envs"].list_value.values.add().string_value = "A=1"
    struct.fields["envs"].list_value.values.append(secret)
    decoded = decode(struct)
    assert decoded.values == {"envs": ["A=1", "hidden"]}
    assert decoded.secret_keys == {"envs"}
    assert decoded.secret_texts == {"hidden"}
    assert "hidden" not in repr(decoded)


def test_an_asset_is_refused() -> None:
    """No docker resource takes one, and guessing would send something else to the engine."""
    struct = struct_pb2.Struct()
    struct.fields["data"].struct_value.update(
        {"4dabf18193072939515e22adb298388d": "c44067f5952c0a294b673a41bacd8c17", "text": "x"}
    )
    with pytest.raises(ValueError, match="an asset, an archive"):
        decode(struct)


@pytest.mark.parametrize("code", [0, 12])
def test_a_refined_unknown_is_unknown(code: int) -> None:
    """Terraform's newer libraries say more about an unknown value; here it stays unknown."""
    assert unpack(msgpack.packb(msgpack.ExtType(code, b"\x81\x01\xc2"))) is UNKNOWN
    with pytest.raises(ValueError, match="extension type 5"):
        unpack(msgpack.packb(msgpack.ExtType(5, b"")))
