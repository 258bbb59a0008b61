"""StreamConfig: defaults, recipes, and one clear ConfigError per bad value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmstream import ConfigError, StreamConfig


def test_defaults_are_the_documented_ones() -> None:
    config = StreamConfig()
    assert (config.width, config.height) == (1920, 1080)
    assert config.seam_arguments() == {
        "display": "",
        "region": None,
        "width": 0,
        "height": 0,
        "fps": 60.0,
        "bitrate": 6_000_000,
        "crf": 23.0,
        "preset": "ultrafast",
        "tune": "zerolatency",
        "use_hardware_encoder": True,
        "encoder": "auto",
        "chroma": "420",
        "cursor": "embedded",
        "keyframe_interval": 0.0,
        "source": "screen",
    }


def test_attributes_are_plain_and_misspelt_ones_are_refused() -> None:
    config = StreamConfig()
    config.fps, config.bitrate = 30, 2_000_000
    assert config.seam_arguments()["fps"] == 30.0
    with pytest.raises(AttributeError):
        config.bitrat = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        StreamConfig(bitrat=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("fps", 0, "0.1 to 1000"),
        ("fps", float("nan"), "0.1 to 1000"),
        ("fps", "60", "0.1 to 1000"),
        ("fps", True, "0.1 to 1000"),
        ("bitrate", 9_999, "10000 to 2000000000"),
        ("bitrate", 1.5e6 + 0.5, "whole number"),
        ("bitrate", float("inf"), "whole number"),
        ("crf", 51.5, "0 to 51"),
        ("crf", None, "0 to 51"),
        ("preset", "placebo", "one of ultrafast"),
        ("tune", "ssimm", "one of zerolatency"),
        ("chroma", "422", "420, 444"),
        ("chroma", 420, "'420'"),
        ("cursor", "shown", "embedded, metadata, hidden"),
        ("source", "camera", "screen, pattern"),
        ("encoder", "", "auto"),
        ("encoder", None, "string"),
        ("display", 1, "'1'"),
        ("use_hardware_encoder", 1, "True or False"),
        ("keyframe_interval", -1, "0 to 86400"),
        ("region", (0, 0, 0, 5), "at least 1"),
        ("region", (-1, 0, 5, 5), "at least 0"),
        ("region", (0, 0, 5), "(x, y, width, height)"),
        ("region", "0,0,5,5", "(x, y, width, height)"),
        ("region", (0.5, 0, 5, 5), "in pixels"),
    ],
)
def test_bad_values_name_field_value_and_limit(field: str, value: object, limit: str) -> None:
    config = StreamConfig()
    setattr(config, field, value)
    with pytest.raises(ConfigError) as caught:
        config.validate()
    message = str(caught.value)
    assert message.startswith(f"{field} = {value!r}")
    assert limit in message
    assert isinstance(caught.value, ValueError)


def test_width_and_height_go_together() -> None:
    with pytest.raises(ConfigError, match="height = None: width and height must be set together"):
        StreamConfig(width=640).validate()
    with pytest.raises(ConfigError, match="width = 8193: must be a whole number from 2 to 8192"):
        StreamConfig(width=8193, height=100).validate()
    arguments = StreamConfig(width=641, height=359).seam_arguments()
    assert (arguments["width"], arguments["height"]) == (641, 359)


def test_a_followed_size_is_shown_but_does_not_become_a_request() -> None:
    config = StreamConfig()
    config.follow(1366, 768)
    assert (config.width, config.height) == (1366, 768)
    assert config.seam_arguments()["width"] == 0
    config.width, config.height = config.width // 2, config.height // 2
    assert config.seam_arguments()["width"] == 683


def test_numbers_of_other_libraries_are_taken() -> None:
    config = StreamConfig(
        bitrate=np.int64(5_000_000),  # type: ignore[arg-type]
        fps=np.float32(30),  # type: ignore[arg-type]
        region=tuple(np.array([1, 2, 30, 40])),  # type: ignore[arg-type]
    )
    arguments = config.seam_arguments()
    assert arguments["bitrate"] == 5_000_000
    assert arguments["region"] == (1, 2, 30, 40)
    assert {type(part) for part in arguments["region"]} == {int}


@pytest.mark.parametrize(
    "recipe", [StreamConfig.max_fps, StreamConfig.best_quality, StreamConfig.low_latency]
)
def test_recipes_are_valid_and_can_be_adjusted(recipe: Any) -> None:
    recipe().validate()
    assert recipe() != StreamConfig()
    config = recipe(display=":9", fps=24)
    assert (config.display, config.fps) == (":9", 24)


def test_recipes_do_what_their_names_say() -> None:
    default = StreamConfig()
    assert StreamConfig.max_fps().fps > default.fps
    assert StreamConfig.best_quality().crf < default.crf
    assert StreamConfig.best_quality().chroma == "444"
    assert StreamConfig.low_latency().fps > default.fps


def test_copy_equality_and_repr() -> None:
    config = StreamConfig(display="1", crf=18)
    twin = config.copy()
    assert twin == config
    twin.crf = 19
    assert twin != config
    assert "crf=18" in repr(config)
    assert "width=1920" in repr(config)
    assert config != "config"


@given(
    st.sampled_from(
        ["fps", "bitrate", "crf", "keyframe_interval", "width", "region", "display", "encoder"]
    ),
    st.one_of(
        st.none(),
        st.integers(),
        st.floats(),
        st.text(),
        st.lists(st.integers(), max_size=5),
        st.booleans(),
    ),
)
def test_any_value_is_taken_or_refused_clearly(field: str, value: object) -> None:
    config = StreamConfig(height=100, width=100)
    setattr(config, field, value)
    try:
        arguments = config.seam_arguments()
    except ConfigError as error:
        assert field in str(error)  # noqa: PT017 (either outcome is right)
    else:
        assert isinstance(arguments, dict)
