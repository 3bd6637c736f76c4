"""A function that runs by itself."""

from support.waiting import wait_until


def test_it_works(stack, drop):
    drop("by-itself", manifest="schedule: {cron: '*/2 * * * * *', parameters: {word: tick}}\n")

    def ended():
        found = stack.get("/invocations?function=by-itself&status=succeeded").json["invocations"]
        return found if len(found) >= 2 else None

    records = wait_until(ended, seconds=90, what="it has run twice")

    assert {record["caller"] for record in records} == {"schedule:default"}
    assert {record["mode"] for record in records} == {"async"}
    assert records[0]["parameters"] == {"word": "tick"}
    (schedule,) = stack.get("/functions/by-itself").json["schedules"]
    assert schedule["next_at"] > schedule["last_at"]
    assert stack.record(schedule["last_invocation_id"])["function"] == "by-itself"
    drop("not-by-itself", manifest="schedule: {cron: 'every day'}\n")
    assert "not a cron expression" in stack.get("/functions/not-by-itself").json["problem"]
