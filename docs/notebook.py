# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # From data to a distilled pre-ranker, in a notebook
#
# Every function takes what its command takes (`distill prepare`, `distill train`, `distill compare`), leaves the same
# run folder in the folder that you are in, and returns a typed result. Jupytext opens this file as a notebook; it is a
# script as well: `python docs/notebook.py`.

# %%
import distill

# %% [markdown]
# Overrides are words of the command line, without quotes for a shell. This is a small synthetic world of requests with
# candidates; your own logs are `data=parquet data.source=DIR data.schema=FILE`.

# %%
DATA = ["data=funnel", "data.adapter.requests=4000", "data.adapter.users=1000", "data.adapter.items=1000"]
FEW: list[str] = ["trainer=cpu", "trainer.max_epochs=3", "callbacks.progress_bar=false"]

# %%
dataset = distill.prepare(DATA)
print(dataset.root, dataset.schema.task_names)

# %% [markdown]
# The same student twice: alone, and with a teacher that is trained first. With a teacher the summary has three roles
# (teacher, control and distilled) and the share of the gap that the teacher closed.

# %%
READY = ["data=prepared", f"data.root={dataset.root}", *FEW]
alone = distill.train([*READY, "name=alone"])
taught = distill.train([*READY, "name=taught", "teacher=trained", "loss=listwise"])

# %%
for role, metrics in taught.metrics.items():
    print(f"{role:<10} {metrics['click/auc']:.4f}")

# %% [markdown]
# Any runs in one table; a row has the mean and deviation of every metric over its seeds.

# %%
rows = distill.compare(["runs"], sort="click/auc", out="runs")
print(rows[0].configuration, rows[0].role)

# %% [markdown]
# What a command would print and exit with is raised, with the place of the mistake and what to do.

# %%
try:
    distill.train(["data=parquett"])
except distill.DistillError as error:
    print(error)
