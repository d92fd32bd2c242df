# What would fail after hours is refused when the configuration is read, or where its jobs are planned.


def planted_cells(name):
    """A function of the wildcards: this table of every prompt that harm is looked for in.

    Settings that planted harm would not follow are refused where it is asked for, and only there.
    """

    def of(wildcards):
        try:
            check.check_validation(CONFIG)
        except DpcError as error:
            raise refusal(error) from None
        return cell_files(name, recipes=VALIDATED, seeds=VALIDATION_SEEDS)

    return of


def validated_splits(wildcards):
    """Return the splits that planted harm is tried on: prompts for choosing never meet a test question.

    Settings that it would not follow are refused here, where its jobs are planned.
    """
    try:
        check.check_validation(CONFIG)
    except DpcError as error:
        raise refusal(error) from None
    is_held_out = int(wildcards.seed) in CONFIG.validation.held_out_seeds
    return ["calibration", "test"] if is_held_out else ["calibration"]


def count(key, counted, of, otherwise):
    """Refuse what cannot be counted: shards and resources depend on it, also where outputs are only touched."""
    try:
        counted(of)
    except DpcError as error:
        instead = (
            f"; or write {otherwise}, to touch or go on from what was made elsewhere"
            if TOUCH or Path(R).is_dir()
            else ""
        )
        raise refusal(f"{key}: {error}{instead}") from None


@readable()
def check_local_files():
    """What would fail at once on a compute node fails here, before the first job.

    What results were made from may be elsewhere by now: see `given`.
    """
    for name in STUDY.datasets:
        files = CONFIG.datasets[name].files
        for pool in ("train", "test"):
            path = getattr(files, pool) if files else None
            made = TOUCH or Path(R, "problems", name, "questions.parquet").is_file()
            if path and not made and not Path(path).is_file():
                raise DpcError(
                    f"datasets.{name}.files.{pool} is {path!r}: found no such file; "
                    "write the path of a JSONL or Parquet file"
                )
        count(f"datasets.{name}.files.test", cost.test_rows, CONFIG.datasets[name], f"datasets.{name}.splits.test")
    for name in CONFIG.loaded:
        path = CONFIG.models[name].path
        made = TOUCH or (Path(R, name) if name in STUDY.models else Path(R)).is_dir()
        if path and not made and not Path(path, "config.json").is_file():
            raise DpcError(
                f"models.{name}.path is {path!r}: found no config.json there; "
                "write the path of a model folder (config, safetensors weights, tokenizer)"
            )
        for counted in (cost.parameters, cost.depth):
            count(f"models.{name}", counted, CONFIG.models[name], f"models.{name}.parameters, in billions")


def refuse(look):
    """What would show after hours of GPU work is refused when the configuration is read."""
    try:
        look()
    except DpcError as error:
        raise refusal(error) from None


def check_layer_ranges():
    for name in STUDY.models:
        check_models.check_layers(CONFIG, name, check_models.depth(name, CONFIG.models[name]))


refuse(check_local_files)
if not TOUCH:
    refuse(lambda: check_models.check_adapters(CONFIG))
    refuse(check_layer_ranges)
