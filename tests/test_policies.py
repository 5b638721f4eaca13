import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.policies import load_policy, named_policy, warnings
from store.database import Store
from store.errors import InvalidDataError, MissingError
from store.policies import add_policy, get_policy, get_policy_by_id, list_policies, policy_versions

EXAMPLE = Path("store/new_workspace/policies/example.yaml")

POLICY = """\
name: taste
anchor: a profile
candidate: a profile
question: Do the two like the same things?
labels:
  - name: alike
    meaning: they like the same things
    role: positive
  - {name: opposed, meaning: one likes what the other dislikes, role: negative}
signals:
  saved: alike
examples:
  - {anchor: I love coffee, candidate: I hate coffee, label: opposed, reason: opposite tastes}
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "policy.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_example_policy_of_a_new_workspace_is_valid_and_raises_no_warning() -> None:
    policy = load_policy(EXAMPLE)
    assert policy.suggested_roles() == {"cited": "positive"}
    assert [answer.name for answer in policy.answers] == ["answers", "on-topic", "unrelated", "unsure"]
    assert warnings(policy) == []


def test_comments_key_order_white_space_and_title_change_no_fingerprint(tmp_path: Path) -> None:
    before = load_policy(written(tmp_path, POLICY))
    lines = POLICY.splitlines()
    reordered = "\n".join(["# a comment", lines[3], lines[0], lines[2], lines[1], "title: Taste", *lines[4:]])
    reordered = reordered.replace("they like the same things", ">-\n      they like\n      the same things")
    after = load_policy(written(tmp_path, reordered))
    assert after.labelling_fingerprint == before.labelling_fingerprint
    assert after.training_fingerprint == before.training_fingerprint


@pytest.mark.parametrize(
    ("old", "new", "labelling", "training"),
    [
        ("role: negative", "role: excluded}\n  - {name: other, meaning: m, role: negative", True, True),
        ("saved: alike", "clicked: alike", False, True),
        ("Do the two like", "Would the two enjoy", True, False),
        ("they like the same things", "they share a taste", True, False),
        ("reason: opposite tastes", "reason: one hates it", True, False),
        ("name: taste", "name: flavour", False, False),
    ],
)
def test_each_edit_moves_the_fingerprint_it_should(
    tmp_path: Path, old: str, new: str, labelling: bool, training: bool
) -> None:
    before = load_policy(written(tmp_path, POLICY))
    after = load_policy(written(tmp_path, POLICY.replace(old, new)))
    assert (after.labelling_fingerprint != before.labelling_fingerprint) is labelling
    assert (after.training_fingerprint != before.training_fingerprint) is training


@pytest.mark.parametrize(
    ("old", "new", "line", "complaint"),
    [
        ("name: taste", "name: My Taste", 1, "should match pattern"),
        ("question: Do the two like the same things?", "question: ''", 4, "at least 1 character"),
        ("role: positive", "role: good", 8, "'positive', 'negative' or 'excluded' (it is 'good')"),
        ("role: positive", "role: negative", 5, "no label has the role positive"),
        ("name: opposed", "name: alike", 9, "label 'alike' is there twice"),
        ("name: opposed", "name: unsure", 9, "offered under every policy already"),
        ("saved: alike", "saved: same", 11, "suggests the label 'same'; the labels are alike, opposed"),
        ("label: opposed", "label: other", 13, "example has the label 'other'"),
        ("signals:", "signal:", 10, "signal: unknown entry; there are name, title, anchor"),
        ("anchor: a profile", "name: a profile", 2, "'name' is there twice"),
        ("labels:", "labels: [", 6, "not YAML"),
        ("role: positive", "rolle: positive", 8, "labels.0.rolle: unknown entry; there are name, meaning, role"),
        ("one likes what the other dislikes", "They like the same things.", 9, "'alike' and 'opposed' have the same"),
        ("candidate: I hate coffee", f"candidate: {'I hate coffee ' * 1200}", 13, "the examples are 16,8"),
        ("saved: alike", "saved: {label: alike, weight: 1.5}", 11, "less than or equal to 1"),
        ("saved: alike", "saved: {label: alike, weight: 0}", 11, "greater than 0"),
        ("saved: alike", "saved: {label: alike, weight: .nan}", 11, "signals.saved.weight"),
        ("saved: alike", "saved: {weight: 0.5}", 11, "signals.saved.label: field required"),
        ("name: taste", "kinds: []\nname: taste", 1, "at least 1 item"),
        ("name: taste", "scale: ordinal\nname: taste", 1, "'set' or 'ordered' (it is 'ordinal')"),
    ],
)
def test_a_bad_policy_is_refused_with_file_and_line(
    tmp_path: Path, old: str, new: str, line: int, complaint: str
) -> None:
    file = written(tmp_path, POLICY.replace(old, new, 1))
    with pytest.raises(InvalidDataError) as caught:
        load_policy(file)
    assert any(m.startswith(f"{file}:{line}:") and complaint in m for m in caught.value.message.splitlines()), (
        caught.value.message
    )


GRADED = """\
name: graded
anchor: a question
candidate: a passage
question: How well does the passage answer the question?
scale: ordered
labels:
  - {name: 0, meaning: not at all, role: negative}
  - {name: 1, meaning: it touches on it, role: negative}
  - {name: 2, meaning: in part, role: excluded}
  - {name: 3, meaning: in full, role: positive}
signals: {cited: 3, clicked: {label: 3, weight: 0.3}}
examples: [{anchor: q, candidate: c, label: 0}]
"""


def test_grades_form_a_scale_and_are_named_by_numbers(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, GRADED))
    assert [label.name for label in policy.labels] == ["0", "1", "2", "3"]
    assert (policy.scale, policy.signals["cited"], policy.examples[0].label) == ("ordered", "3", "0")
    assert policy.weights == {"clicked": 0.3}
    assert warnings(policy) == []


def test_on_a_scale_the_positive_labels_stand_together(tmp_path: Path) -> None:
    mixed = GRADED.replace("it touches on it, role: negative", "it touches on it, role: positive").replace(
        "in part, role: excluded", "in part, role: negative"
    )
    with pytest.raises(InvalidDataError, match=r"policy\.yaml:6: on an ordered scale"):
        load_policy(written(tmp_path, mixed))
    load_policy(written(tmp_path, mixed.replace("scale: ordered\n", "")))  # a set may mix them


def test_words_that_yaml_takes_for_truth_values_are_names_like_any_other(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, POLICY.replace("alike", "yes").replace("opposed", "no")))
    assert [label.name for label in policy.labels] == ["yes", "no"]


def test_a_policy_is_stored_with_all_its_entries(store: Store, tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, GRADED + "kinds: [text, code]\n"))
    add_policy(store, policy)
    assert get_policy(store, "graded") == dataclasses.replace(policy, version=1)


@pytest.mark.parametrize(
    ("anchor", "candidate", "question", "missing"),
    [
        ("a query", "a passage", "Does the passage answer the query?", []),
        ("a product", "another product", "Could the one be bought in place of the other?", []),
        ("a profile", "a profile", "Would they get along?", []),
        ("what a shopper searches for", "a product", "Does this product fit the search?", []),
        ("eine Frage", "ein Textabschnitt", "Beantwortet der Text die Frage?", []),
        ("用户的问题", "检索到的段落", "这个段落回答了问题吗?", []),
        ("a question", "a passage", "Is it relevant?", ["anchor", "candidate"]),
        ("a question", "a passage", "Does the passage say something true?", ["anchor"]),
        ("a task", "the description of a tool", "Is it a good way to do the task?", ["candidate"]),
    ],
)
def test_a_question_that_leaves_out_one_side_is_a_warning(
    tmp_path: Path, anchor: str, candidate: str, question: str, missing: list[str]
) -> None:
    policy = dataclasses.replace(
        load_policy(written(tmp_path, POLICY)), anchor=anchor, candidate=candidate, question=question
    )
    assert re.findall(r"mention the (\w+)", "\n".join(warnings(policy))) == missing


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "just text", "\x00", "a: &a [*a]", "[" * 5000])
def test_what_is_no_policy_at_all_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InvalidDataError):
        load_policy(written(tmp_path, content))


def test_a_missing_or_undecodable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"nowhere\.yaml"):
        load_policy(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(InvalidDataError, match=r"latin\.yaml"):
        load_policy(tmp_path / "latin.yaml")


@given(st.text(max_size=300))
def test_any_text_gives_a_policy_or_a_message_but_no_traceback(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "policy.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InvalidDataError):
        load_policy(file)


def test_adding_twice_is_one_version_and_an_edit_undone_is_a_third(store: Store, tmp_path: Path) -> None:
    first = load_policy(written(tmp_path, POLICY))
    edited = dataclasses.replace(first, question="Do they share a taste?")
    assert add_policy(store, first) == (dataclasses.replace(first, version=1), True)
    assert add_policy(store, first)[1] is False
    assert add_policy(store, dataclasses.replace(first, title="Taste"))[1] is False
    assert get_policy(store, "taste").title == "Taste"
    assert add_policy(store, edited)[0].version == 2
    assert add_policy(store, first)[0].version == 3
    assert [policy.version for policy in policy_versions(store, "taste")] == [1, 2, 3]
    assert get_policy(store, "taste").question == first.question
    assert get_policy_by_id(store, edited.policy_id).version == 2
    assert [policy.version for policy in list_policies(store)] == [3]


def test_an_unknown_policy_is_missing_and_the_known_ones_are_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        get_policy(store, "taste")
    assert caught.value.hint == "uncited policy add policies/FILE.yaml"
    add_policy(store, load_policy(written(tmp_path, POLICY)))
    with pytest.raises(MissingError, match="there are: taste"):
        get_policy(store, "tast")
    for no_name_of_a_file in ("x" * 300, "\x00"):
        with pytest.raises(MissingError, match="there are: taste"):
            named_policy(store, no_name_of_a_file)
