"""The harness's own tasks on files that stand for their datasets."""

from __future__ import annotations

import math

import datasets
import nltk
import pytest
from small_benchmarks import PUNKT_KIND, mmlu_subjects, write_benchmarks
from tiny_models import CPU
from word_models import log_likelihood, word_model, word_tokenizer

from sdi_gate.errors import UnreachableError, UsageError
from sdi_gate.study.evaluation.benchmark_files import read_dataset
from sdi_gate.study.evaluation.evaluate import evaluate_loaded, evaluate_model
from sdi_gate.study.evaluation.public import PUBLIC_AXES, public_tasks

SHARED = "../shared/data"
LONG = {"max_position_embeddings": 2048}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_benchmarks(tmp_path_factory.mktemp("benchmarks"))


@pytest.fixture
def no_punkt(monkeypatch):
    """Let nltk have no data and get none, as on a fresh machine without network."""

    def absent(name):
        raise LookupError(name)

    monkeypatch.setattr(nltk.data, "find", absent)
    monkeypatch.setattr(nltk, "download", lambda *_names, **_options: False)


@pytest.fixture
def with_punkt(monkeypatch):
    monkeypatch.setattr(nltk.data, "find", lambda name: name)


def only(axis, folder):
    (task,) = public_tasks((axis,), folder=folder)
    return task


@pytest.mark.usefixtures("no_punkt")
def test_every_public_axis_is_scored_from_files(files):
    scores = evaluate_loaded(
        word_model(**LONG), word_tokenizer(), public_tasks(folder=files), batch_size=16
    )
    assert tuple(scores) == PUBLIC_AXES
    assert {axis: score.n for axis, score in scores.items()} == {
        "mmlu": sum(2 + number % 2 for number in range(57)),
        "ifeval": 3,
        "toxigen": 10,
        "truthfulqa": 4,
    }
    for score in scores.values():
        assert score.value == pytest.approx(sum(score.items) / score.n)
        assert math.isfinite(score.stderr)


def test_mmlu_has_57_subjects_and_five_examples_of_the_dev_set(files):
    task = only("mmlu", files)
    assert len(task.tasks) == len(mmlu_subjects()) == 57
    anatomy = task.tasks["mmlu_anatomy"]
    anatomy.set_fewshot_seed(0)
    text = anatomy.fewshot_context(anatomy.eval_docs[0], num_fewshot=anatomy.config.num_fewshot)
    assert text.startswith("The following are multiple choice questions (with answers) about anat")
    assert text.count("dev\nA. w0\n") == 5
    assert text.count("test\nA. w0\n") == 1
    assert text.endswith("Answer:")


def test_mmlu_is_the_share_of_right_answers_over_all_questions(files):
    model, tokenizer = word_model(**LONG), word_tokenizer()
    task = only("mmlu", files)
    score = evaluate_loaded(model, tokenizer, [task])["mmlu"]
    subjects = [
        evaluate_loaded(model, tokenizer, [task], limit=2)["mmlu"].items[2 * i : 2 * i + 2]
        for i in range(3)
    ]
    assert [score.items[0:2], score.items[2:4]] == subjects[:2]
    assert score.value == pytest.approx(sum(score.items) / score.n)
    assert 0 < score.stderr < 1 / math.sqrt(score.n)


def test_truthfulqa_is_the_probability_of_the_true_answers(files):
    model, tokenizer = word_model(**LONG), word_tokenizer()
    task = only("truthfulqa", files)
    score = evaluate_loaded(model, tokenizer, [task])["truthfulqa"]
    harness_task = task.tasks["truthfulqa_mc2"]
    for item, doc in zip(score.items, harness_task.eval_docs, strict=True):
        prompt = harness_task.doc_to_text(doc)
        targets = doc["mc2_targets"]
        chances = [
            math.exp(log_likelihood(model, tokenizer, prompt, choice))
            for choice in targets["choices"]
        ]
        true = sum(p for p, label in zip(chances, targets["labels"], strict=True) if label)
        assert item == pytest.approx(true / sum(chances), rel=1e-4)


def test_toxigen_counts_a_sum_of_both_ratings_over_five_and_a_half_as_hateful(files):
    task = only("toxigen", files).tasks["toxigen"]
    targets = [int(task.doc_to_target(doc)) for doc in task.eval_docs]
    assert targets == [0, 0, 0, 1, 1] * 2


@pytest.mark.usefixtures("no_punkt")
def test_instructions_that_cannot_be_checked_are_left_out_and_named(files, caplog):
    task = only("ifeval", files)
    kinds = [doc["instruction_id_list"] for doc in task.tasks["ifeval"].eval_docs]
    assert [PUNKT_KIND] not in kinds
    assert len(kinds) == 3
    assert task.note.startswith("1 of 4 prompts of ifeval are left out")
    assert PUNKT_KIND in task.note
    assert "python -m nltk.downloader punkt_tab" in caplog.text


@pytest.mark.usefixtures("with_punkt")
def test_no_instruction_is_left_out_where_punkt_is_there(files):
    task = only("ifeval", files)
    assert task.note == ""
    assert len(task.tasks["ifeval"].eval_docs) == 4


@pytest.mark.usefixtures("no_punkt")
def test_ifeval_is_right_where_all_instructions_are_followed(files):
    task = only("ifeval", files).tasks["ifeval"]
    responses = ["no comma here", "w1 w2", "All Lower Case"]
    found = [
        task.process_results(doc, [response])["prompt_level_strict_acc"]
        for doc, response in zip(task.eval_docs, responses, strict=True)
    ]
    assert found == [True, True, False]


@pytest.mark.usefixtures("no_punkt")
def test_two_evaluations_of_ifeval_agree(files):
    task, model = only("ifeval", files), word_model()
    scores = [evaluate_loaded(model, word_tokenizer(), [task]) for _ in range(2)]
    assert scores[0] == scores[1]


def test_an_axis_that_is_none_is_refused_with_those_that_are(files):
    with pytest.raises(UsageError, match="no public axis 'gsm8k'") as caught:
        public_tasks(("mmlu", "gsm8k"), folder=files)
    assert caught.value.hint == "the public axes are mmlu, ifeval, toxigen, truthfulqa"


@pytest.mark.parametrize("axis", PUBLIC_AXES)
def test_a_folder_without_the_files_is_refused(tmp_path, axis):
    with pytest.raises(UsageError, match="cannot read the benchmark"):
        public_tasks((axis,), folder=tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("toxigen/exp_dataset.jsonl", "no JSON"),
        ("toxigen/exp_dataset.jsonl", '{"words": "w1"}'),
        ("toxigen/exp_dataset.jsonl", ""),
        ("truthfulqa/mc_task.json", '[{"question": "w1"}]'),
        ("truthfulqa/mc_task.json", "[1]"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, file, content):
    write_benchmarks(tmp_path)
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot (read|load) the benchmark"):
        public_tasks((file.partition("/")[0],), folder=tmp_path)


def test_a_dataset_that_no_file_stands_for_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no benchmark file stands for the dataset 'openai/gsm8k'"):
        read_dataset(tmp_path, "openai/gsm8k", None)


def test_without_a_folder_the_datasets_come_from_the_hub(monkeypatch, files):
    asked = []

    def load_dataset(path, name=None):
        asked.append((path, name))
        rows = read_dataset(files, path, name)
        return {split: datasets.Dataset.from_list(list(these)) for split, these in rows.items()}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    model = word_model(**LONG)
    for axis, dataset in (
        ("mmlu", ("cais/mmlu", "anatomy")),
        ("toxigen", ("skg/toxigen-data", "annotated")),
        ("truthfulqa", ("truthfulqa/truthful_qa", "multiple_choice")),
    ):
        (task,) = public_tasks((axis,))
        assert dataset in asked
        assert task.note == ""
        from_files = evaluate_loaded(model, word_tokenizer(), [only(axis, files)])
        assert evaluate_loaded(model, word_tokenizer(), [task]) == from_files


def test_a_hub_that_does_not_answer_is_unreachable(monkeypatch):
    def load_dataset(path, name=None):
        raise ConnectionError(f"{path} {name}")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UnreachableError, match="benchmark toxigen: ConnectionError: skg/toxigen"):
        public_tasks(("toxigen",))


@pytest.mark.usefixtures("no_punkt")
def test_ifeval_from_the_hub_is_not_run_without_punkt(monkeypatch, files):
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda path, name=None: read_dataset(files, path, name),
    )
    with pytest.raises(UnreachableError, match="needs nltk's punkt_tab") as caught:
        public_tasks(("ifeval",))
    assert caught.value.hint == "python -m nltk.downloader punkt_tab"


def test_a_package_that_is_missing_is_named_with_the_command(monkeypatch):
    def load_dataset(path, name=None):
        raise ModuleNotFoundError(f"No module named {path!r} {name}")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UsageError, match="the benchmark toxigen needs a package") as caught:
        public_tasks(("toxigen",))
    assert caught.value.hint == "pip install 'sdi-gate[study]'"


@pytest.fixture
def shared(request):
    folder = (request.config.rootpath / SHARED).resolve()
    if not folder.is_dir():
        pytest.skip(f"{SHARED} is absent")
    return folder


@pytest.mark.data
@pytest.mark.parametrize(("axis", "limit"), [("toxigen", 8), ("truthfulqa", 2), ("ifeval", 2)])
@pytest.mark.usefixtures("no_punkt")
def test_a_real_benchmark_runs_on_a_real_model(shared, axis, limit):
    task = only(axis, shared / "benchmarks")
    for one in task.tasks.values():
        if one.OUTPUT_TYPE == "generate_until":
            one.set_config("generation_kwargs", {"max_gen_toks": 16}, update=True)
    score = evaluate_model(shared / "models/stories260k", [task], device=CPU, limit=limit)[axis]
    assert score.n == limit
    assert 0 <= score.value <= 1


@pytest.mark.data
def test_the_real_mmlu_runs_on_a_real_model_without_examples(shared):
    task = only("mmlu", shared / "benchmarks")
    assert sum(len(one.eval_docs) for one in task.tasks.values()) == 14042
    for one in task.tasks.values():
        one.set_config("num_fewshot", 0)
    score = evaluate_model(shared / "models/stories260k", [task], device=CPU, limit=2)["mmlu"]
    assert score.n == 114
    assert 0 < score.value < 1


@pytest.mark.data
@pytest.mark.usefixtures("no_punkt")
def test_the_real_ifeval_loses_64_of_541_prompts_without_punkt(shared):
    task = only("ifeval", shared / "benchmarks")
    assert len(task.tasks["ifeval"].eval_docs) == 541 - 64
