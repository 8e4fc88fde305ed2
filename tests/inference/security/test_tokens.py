from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from inference.contract.errors import PlayfuseError
from inference.security.tokens import Role, Tokens, mint, parse, read

if TYPE_CHECKING:
    from pathlib import Path

SECRET, TOKEN = mint(Role.PREDICT, "lobby eu")
ADMIN_SECRET, ADMIN = mint(Role.ADMIN)


def test_a_token_is_long_random_and_only_its_hash_is_kept() -> None:
    assert mint(Role.PREDICT)[0] != SECRET
    assert len(SECRET) >= 43
    assert TOKEN.digest == hashlib.sha256(SECRET.encode()).digest()
    assert TOKEN.line == f"predict {TOKEN.digest.hex()} lobby eu"
    assert SECRET not in TOKEN.line


def test_lines_come_back_as_they_were_printed(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"# who may call\n\n{TOKEN.line}  # since May\n{ADMIN.line}\n")
    tokens = read(tmp_path / "tokens")
    assert tokens.role_of([("authorization", f"Bearer {SECRET}")]) is Role.PREDICT
    assert tokens.role_of([("authorization", f"bearer  {ADMIN_SECRET} ")]) is Role.ADMIN


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", SECRET)],
        [("authorization", f"Basic {SECRET}")],
        [("authorization", f"Bearer {SECRET[:-1]}")],
        [("authorization", f"Bearer {SECRET}x")],
        [("authorization", f"Bearer {TOKEN.digest.hex()}")],
        [("x-authorization", f"Bearer {SECRET}")],
        [("authorization", f"Bearer {SECRET}"), ("authorization", f"Bearer {ADMIN_SECRET}")],
        [("authorization", b"\xff\x00")],
        [("authorization", "Bearer \udcff")],
    ],
)
def test_what_is_no_valid_token_has_no_role(metadata: list[tuple[str, str | bytes]]) -> None:
    assert Tokens([TOKEN, ADMIN]).role_of(metadata) is None


def test_admins_may_predict_and_not_the_other_way_round() -> None:
    assert Role.ADMIN.allows(Role.PREDICT)
    assert Role.ADMIN.allows(Role.ADMIN)
    assert Role.PREDICT.allows(Role.PREDICT)
    assert not Role.PREDICT.allows(Role.ADMIN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "got no tokens"),
        ("# nothing\n", "got no tokens"),
        (f"{SECRET}\n", "line 1: got no role at its start"),
        (f"{TOKEN.line}\nroot {SECRET}\n", "line 2: got no role at its start"),
        (f"predict {SECRET}\n", "line 1: got no SHA-256"),
        ("predict\n", "line 1: got no SHA-256"),
        (f"{TOKEN.line}\n\n{TOKEN.line}\n", "line 3: got a token again"),
    ],
    ids=["empty", "comment", "bare", "unknown-role", "plain-token", "no-digest", "twice"],
)
def test_a_faulty_line_is_named_and_not_quoted(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(PlayfuseError, match=said) as refused:
        read(tmp_path / "tokens")
    assert SECRET not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(PlayfuseError, match="No such file"):
        read(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(PlayfuseError, match="bytes that are no text"):
        read(tmp_path / "binary")
    (tmp_path / "huge").write_bytes(b"#" * 2_000_000)
    with pytest.raises(PlayfuseError, match="2000000 bytes"):
        read(tmp_path / "huge")


def test_names_are_one_line() -> None:
    with pytest.raises(PlayfuseError, match="name"):
        mint(Role.PREDICT, "a\nadmin")
    assert parse([mint(Role.PREDICT, "a b")[1].line], "x") is not None
