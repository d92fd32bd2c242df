# What figures and tables are made from, and the files they become.


def table_files():
    """Every table of a cell by name, and its file within the cell, as the rules declare their outputs."""
    made = [
        re.search(r"seed\{seed[^}]*\}/([^{}]*?(\w+)\.parquet)$", out)
        for made_by in workflow.rules
        for out in made_by.output
    ]
    return {found[2]: found[1] for found in made if found}


def tables_for(scope):
    """A function of the wildcards: the tables that the figures and tables of a scope declare, of every seed."""
    within = table_files()
    names = {name: within[name] for name in exhibits.needed(scope)}
    if scope == "study":
        return [file for name in names.values() for file in cell_files(name)]
    files = [own_cells(file, first_seed=name == "exemplars") for name, file in names.items()]
    return lambda wildcards: [file for of in files for file in of(wildcards)]


def exhibits_in(folder, scope, **labels):
    """The files of every figure and table of a scope, the one to look at with caption, category and labels."""
    kinds = (exhibits.FIGURES, "", ["svg", "pdf", "txt"]), (exhibits.TABLES, "table: ", ["html", "csv", "md", "tex"])
    files = []
    for known, prefix, (shown, *others) in kinds:
        for name in exhibits.of(scope, known):
            about = {"figure": f"{prefix}{name}", **{key: labels[key] for key in ("model", "dataset", "recipe")}}
            caption = caption_file(f"{prefix}{name}", known[name])
            files += [report(f"{folder}/{name}.{shown}", caption=caption, category=known[name].category, labels=about)]
            files += [f"{folder}/{name}.{ending}" for ending in others]
    return files


def caption_file(name, exhibit):
    """The short caption of the report, as a file: what an exhibit declares, and the sentence of its scope."""
    run = Path(ROOT, "workflow/report", f"of_{exhibit.of}.rst").read_text().strip()
    text = f"{exhibit.caption}\n\n{' '.join(filter(None, [run, exhibit.note]))}\n"
    file = Path(".snakemake/captions", f"{name.replace(': ', '_')}.rst").resolve()
    if not file.is_file() or file.read_text() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return str(file)
