"""Code, issues, deployments and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .occasion import Occasion, Sample

__all__ = ["SAMPLES"]


def _github(_: Occasion) -> dict[str, Any]:
    return {"ref": "refs/heads/main", "repository": {"full_name": "octo/hello"}, "commits": []}


def _github_headers(at: Occasion) -> Mapping[str, str]:
    return {"X-GitHub-Delivery": at.uuid, "X-GitHub-Event": "push", "X-GitHub-Hook-ID": "1"}


def _gitlab(_: Occasion) -> dict[str, Any]:
    return {"object_kind": "push", "project": {"path_with_namespace": "octo/hello"}}


def _gitlab_headers(at: Occasion) -> Mapping[str, str]:
    return {
        "X-Gitlab-Event": "Push Hook",
        "X-Gitlab-Event-UUID": "13792a34-cac6-4fda-95a8-c58e00a3954e",
        "Idempotency-Key": at.uuid,
        "webhook-id": at.uuid,
    }


def _bitbucket_headers(at: Occasion) -> Mapping[str, str]:
    return {
        "X-Event-Key": "repo:push",
        "X-Hook-UUID": "d5a1b1c8-0000-4000-8000-000000000001",
        "X-Request-UUID": at.uuid,
        "X-Attempt-Number": str(at.attempt),
    }


def _jira_headers(at: Occasion) -> Mapping[str, str]:
    headers = {"X-Atlassian-Webhook-Identifier": at.uuid}
    if at.attempt > 1:
        headers["X-Atlassian-Webhook-Retry"] = str(at.attempt - 1)
    return headers


def _linear(at: Occasion) -> dict[str, Any]:
    return {
        "action": "update",
        "type": "Issue",
        "createdAt": at.happened_iso,
        "webhookId": "00000000-0000-4000-8000-000000000001",
        "webhookTimestamp": int(at.sent * 1000),
        "data": {"id": "issue-1", "title": "Hello"},
    }


def _sentry(at: Occasion) -> dict[str, Any]:
    return {
        "action": "resolved",
        "installation": {"uuid": "installation-1"},
        "data": {"issue": {"id": "1", "count": str(at.number)}},
    }


def _sentry_headers(at: Occasion) -> Mapping[str, str]:
    return {
        "Request-ID": at.attempt_uuid,
        "Sentry-Hook-Resource": "issue",
        "Sentry-Hook-Timestamp": str(int(at.sent)),
    }


SAMPLES = {
    "github": Sample(_github, _github_headers),
    "gitlab": Sample(_gitlab, _gitlab_headers),
    "bitbucket": Sample(
        lambda _: {"repository": {"full_name": "octo/hello"}, "push": {"changes": []}},
        _bitbucket_headers,
    ),
    "jira": Sample(
        lambda at: {
            "webhookEvent": "jira:issue_updated",
            "timestamp": at.happened * 1000,
            "issue": {"id": "1", "key": "JRA-1"},
        },
        _jira_headers,
    ),
    "linear": Sample(_linear, lambda at: {"Linear-Delivery": at.uuid, "Linear-Event": "Issue"}),
    "sentry": Sample(_sentry, _sentry_headers),
    "vercel": Sample(
        lambda at: {
            "id": f"vercel-{at.event}",
            "type": "deployment.ready",
            "createdAt": at.happened * 1000,
            "payload": {"deployment": {"id": "dpl_1"}, "project": {"id": "prj_1"}},
        }
    ),
}
