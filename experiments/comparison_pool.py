"""Processes that serve the jobs of a comparison, each on its own core."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from experiments.kept_runs import Job, Store
from experiments.reproduce import ONE_CORE, ROOT, TAIL_LINES

# The module that serves the runs of a job.
WORKER = (sys.executable, "-m", "experiments.swept")


class Pool:
    """Workers, each on its own core, that serve jobs until the time is up."""

    def __init__(
        self,
        store: Store,
        workers: int,
        max_hours: float | None = None,
        data_dir: str | None = None,
    ):
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        cores = cores or list(range(os.cpu_count() or 1))
        if workers > len(cores):
            raise ValueError(f"--workers must be at most {len(cores)}, the cores; got {workers}")
        self.cores, self.workers, self.data_dir = cores, workers, data_dir
        self.store, self.left = store, 0
        self.end = time.monotonic() + 3600 * max_hours if max_hours else float("inf")

    def work(self, jobs: Sequence[Job], samples: bool = False) -> None:
        """Run what is missing of these jobs; runs that time did not allow are counted in `left`.

        Args:
            jobs: the jobs to serve.
            samples: also keep the accuracy and the energy of every single sample.

        Raises:
            RuntimeError: a worker failed, with the end of its output.
        """
        free: queue.SimpleQueue = queue.SimpleQueue()
        for core in self.cores:
            free.put(core)

        def pin():
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, {free.get()})

        open_jobs = []
        for job in jobs:
            missing = tuple(run for run in job.runs if self.store.find(job, run) is None)
            if missing:
                open_jobs.append(dataclasses.replace(job, runs=missing))
        with ThreadPoolExecutor(self.workers, initializer=pin) as pool:
            served = list(pool.map(functools.partial(self._serve, samples=samples), open_jobs))
        self.left += sum(len(job.runs) for job in open_jobs) - sum(served)

    def _serve(self, job: Job, samples: bool) -> int:
        """Serve a job; returns the number of runs done."""
        if time.monotonic() >= self.end:
            return 0
        environment = os.environ | ONE_CORE
        if self.data_dir:
            environment["JSNN_DATA"] = str(Path(self.data_dir).resolve())
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen(WORKER, cwd=ROOT, env=environment, text=True, **pipes) as worker:
            said: list[str] = []
            reader = threading.Thread(target=lambda: said.extend(worker.stderr))
            reader.start()
            done = self._follow(job, worker, samples)
            status = worker.wait()
            reader.join()
        if done < len(job.runs) and time.monotonic() < self.end:
            tail = "".join(said[-TAIL_LINES:])
            raise RuntimeError(f"{job.task} {job.regulariser}: exit status {status}\n{tail}")
        return done

    def _follow(self, job: Job, worker: subprocess.Popen, samples: bool) -> int:
        """Keep the results of a worker, run by run; returns their number."""
        wanted = {"regulariser": job.regulariser, "flags": dict(job.flags), "runs": job.runs}
        try:
            worker.stdin.write(json.dumps(wanted))
            worker.stdin.close()
        except BrokenPipeError:
            # The worker ended before it read; its exit status says why.
            return 0
        done = 0
        for run, line in zip(job.runs, worker.stdout, strict=False):
            result = json.loads(line)
            result.pop("prices", None)
            if samples:
                result["samples"]["pj"] = np.rint(result["samples"]["pj"]).astype(int).tolist()
            else:
                result.pop("samples")
            self.store.keep(job, run, result)
            done += 1
            title = f"{job.task} {job.stage} {job.regulariser}"
            shown = f"{result['accuracy']:.2%}, {result['pj'] / 1e3:,.1f} nJ"
            print(f"{title} {dict(run)}: {shown}, {result['seconds']:.0f} s", flush=True)
            if time.monotonic() >= self.end and done < len(job.runs):
                worker.terminate()
                break
        return done
