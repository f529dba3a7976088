"""The index template and the lifecycle policy, as the two families of servers take them."""

from __future__ import annotations

import itertools
import re
from typing import Any

from mooring.types.elasticsearch.model import ElasticsearchConfig, ElasticsearchIndexLifecyclePolicy

# Above the templates that the servers bring for everybody, and below what somebody puts there for one index.
PRIORITY = 200
_DATE_MATH = re.compile(r"\{[^{}]*(\{[^{}]*\}[^{}]*)*\}")
_FIRST_NUMBER = "-000001"


def patterns(name: str) -> list[str]:
    """Which indices a template is for: the one of that name, and those that come from it as time goes by."""
    if name.startswith("<"):
        return [_DATE_MATH.sub("*", name.strip("<>"))]
    return [name] if "*" in name else [name, f"{name}-*"]


def first_index(name: str) -> str:
    """The index that an alias of that name writes to before its first rollover."""
    return f"{name}{_FIRST_NUMBER}"


def rolls_over(config: ElasticsearchConfig) -> bool:
    """Whether `indexName` is an alias whose index changes as it grows."""
    policy = config.index_lifecycle_policy if config.index_lifecycle_policy_created else None
    name = config.index_name or ""
    return bool(
        policy and policy.enable_hot_phase and _conditions(policy) and name and "*" not in name and name[0] != "<"
    )


def template(config: ElasticsearchConfig, *, opensearch: bool) -> dict[str, Any]:
    """The body of `PUT _index_template/...`."""
    settings: dict[str, Any] = {
        "index.number_of_shards": config.index_template_number_of_shards or 1,
        "index.number_of_replicas": config.index_template_number_of_replicas or 0,
        "index.refresh_interval": config.index_template_refresh_interval or "5s",
    }
    name = config.index_name or ""
    if config.index_lifecycle_policy_created and config.index_lifecycle_policy is not None:
        if not opensearch:
            settings["index.lifecycle.name"] = config.index_lifecycle_policy.policy_name
        if rolls_over(config):
            alias = "plugins.index_state_management.rollover_alias" if opensearch else "index.lifecycle.rollover_alias"
            settings[alias] = name
    return {"index_patterns": patterns(name), "priority": PRIORITY, "template": {"settings": settings}}


def _conditions(policy: ElasticsearchIndexLifecyclePolicy) -> dict[str, Any]:
    """When an index has grown enough, as Elasticsearch names it; 0 is no condition."""
    said = {
        "max_age": policy.max_age_of_rollover and f"{policy.max_age_of_rollover}d",
        "max_size": policy.max_index_size_of_rollover and f"{policy.max_index_size_of_rollover}gb",
        "max_docs": policy.max_doc_count_of_rollover,
    }
    return {name: value for name, value in said.items() if value}


def elasticsearch_policy(policy: ElasticsearchIndexLifecyclePolicy) -> dict[str, Any]:
    """The body of `PUT _ilm/policy/...`."""
    phases: dict[str, Any] = {}
    if policy.enable_hot_phase:
        conditions = _conditions(policy)
        phases["hot"] = {"min_age": "0ms", "actions": {"rollover": conditions} if conditions else {}}
    if policy.enable_warm_phase:
        phases["warm"] = {
            "min_age": "0ms",
            "actions": _given(
                allocate=_given(number_of_replicas=policy.number_of_replicas_for_warm),
                shrink=_given(number_of_shards=policy.max_num_shards_for_shrink),
                forcemerge=_given(max_num_segments=policy.max_num_segments_for_force_merge),
            )
            or {},
        }
    if policy.enable_cold_phase:
        phases["cold"] = {
            "min_age": f"{policy.min_age_of_cold or 0}d",
            "actions": _given(allocate=_given(number_of_replicas=policy.number_of_replicas_for_cold)) or {},
        }
    if policy.enable_delete_phase:
        phases["delete"] = {"min_age": f"{policy.min_age_of_delete or 0}d", "actions": {"delete": {}}}
    return {"policy": {"phases": phases}}


def opensearch_policy(policy: ElasticsearchIndexLifecyclePolicy, index_patterns: list[str]) -> dict[str, Any]:
    """The body of `PUT _plugins/_ism/policies/...`; it says itself which indices it is for."""
    states: list[dict[str, Any]] = []
    if policy.enable_hot_phase:
        names = {"max_age": "min_index_age", "max_size": "min_size", "max_docs": "min_doc_count"}
        conditions = {names[name]: value for name, value in _conditions(policy).items()}
        states.append(_state("hot", [{"rollover": conditions}] if conditions else []))
    if policy.enable_warm_phase:
        actions = [
            {name: what}
            for name, what in (
                ("replica_count", _given(number_of_replicas=policy.number_of_replicas_for_warm)),
                ("shrink", _given(num_new_shards=policy.max_num_shards_for_shrink)),
                ("force_merge", _given(max_num_segments=policy.max_num_segments_for_force_merge)),
            )
            if what is not None
        ]
        states.append(_state("warm", actions))
    if policy.enable_cold_phase:
        replicas = _given(number_of_replicas=policy.number_of_replicas_for_cold)
        states.append(_state("cold", [{"replica_count": replicas}] if replicas else []))
    if policy.enable_delete_phase:
        states.append(_state("delete", [{"delete": {}}]))
    if states and states[0]["name"] in ("cold", "delete"):
        states.insert(0, _state("hot", []))  # an index is not old when it begins
    ages = {"cold": policy.min_age_of_cold, "delete": policy.min_age_of_delete}
    for state, following in itertools.pairwise(states):
        age = ages.get(following["name"])
        when: dict[str, Any] = {"conditions": {"min_index_age": f"{age}d"}} if age else {}
        state["transitions"] = [{"state_name": following["name"], **when}]
    return {
        "policy": {
            "description": "Made by Mooring",
            "default_state": states[0]["name"] if states else "hot",
            "states": states,
            "ism_template": [{"index_patterns": index_patterns, "priority": PRIORITY}],
        }
    }


def _state(name: str, actions: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "actions": actions, "transitions": []}


def _given(**values: Any) -> dict[str, Any] | None:
    """Those that are said; None where none is."""
    return {name: value for name, value in values.items() if value is not None} or None
