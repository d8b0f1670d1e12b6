"""Job queues that people use from Python, each doing nothing as often as it can on a Redis: for tests/bench/queue.

    queue_peers.py NAME REDIS-PORT JOBS

prints the seconds that one worker took for all jobs, those that handing them over took, and the bytes of Redis' memory in which
they waited. Each runs as its own documentation says, within one process, so that nothing is forked per job.
"""
import logging
import os
import sys
import time


def nothing(*_):
    """The job."""


def handed_over(port, hand):
    """Seconds and bytes of Redis' memory that hand() took."""
    import redis
    connection = redis.Redis(port=port)
    before, start = connection.info("memory")["used_memory"], time.monotonic()
    hand()
    return time.monotonic() - start, connection.info("memory")["used_memory"] - before


def rq(port, jobs):
    """rq's SimpleWorker until the queue is empty."""
    import redis
    from rq import Queue, SimpleWorker
    from rq.timeouts import TimerDeathPenalty

    class Worker(SimpleWorker):
        """Deadlines by a timer: signals are no quicker."""
        death_penalty_class = TimerDeathPenalty
    connection = redis.Redis(port=port)
    queue = Queue("bench", connection=connection)
    handed = handed_over(port, lambda: queue.enqueue_many(
        [Queue.prepare_data(nothing, (i,), result_ttl=0) for i in range(jobs)]))
    start = time.monotonic()
    Worker([queue], connection=connection).work(burst=True, logging_level="ERROR")
    return time.monotonic() - start, *handed


def dramatiq(port, jobs):
    """dramatiq's Worker with its default threads, until the broker says that the queue is empty."""
    import dramatiq as lib
    from dramatiq.brokers.redis import RedisBroker
    broker = RedisBroker(host="127.0.0.1", port=port)
    lib.set_broker(broker)
    actor = lib.actor(nothing, queue_name="bench")
    handed = handed_over(port, lambda: [actor.send(i) for i in range(jobs)])
    worker = lib.Worker(broker, worker_timeout=100)
    start = time.monotonic()
    worker.start()
    broker.join("bench")
    seconds = time.monotonic() - start
    worker.stop()
    return seconds, *handed


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import queue_peers  # rq asks for the job by its module's name
    print(*getattr(queue_peers, sys.argv[1])(int(sys.argv[2]), int(sys.argv[3])))
