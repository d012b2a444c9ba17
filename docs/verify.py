#!/usr/bin/env python3
"""Recomputes a pgwitness trail with the standard library alone (docs/chain-format.md is the format).
usage: verify.py FILE...   FILE: the lines of sql/verify/export_genesis.sql and then of export.sql, or the test vectors;
{"subject_key": hex, "class": …, "value": …, "token": …} is what opens a token"""
import functools, hashlib, json, sys

GENESIS = "stream system_id timeline database slot publication log_public_key random created_at"
ENTRY = """stream sequence id timestamp actor_id actor_email actor_role actor_type resource_type resource_id action
    old_values new_values changed source ip_address user_agent geo_country geo_city geo_lat geo_lon reason_code reason_note
    attribution request_id trace_id api_key_id db_user application_name schema_name table_name operation xid commit_lsn ordinal salt"""

def sha(b): return hashlib.sha256(b).digest()
def ns(b): return b"%d:%b," % (len(b), b)
def raw(v): return bytes.fromhex(v["hex"]) if isinstance(v, dict) else str(v).encode("utf-8", "surrogateescape")
def column(name, v):
    if name in ("log_public_key", "random", "salt"): return ns(bytes.fromhex(v))
    return b"n," if v is None else ns(b"".join(ns(raw(c)) for c in v) if name == "changed" else raw(v))
def digest(tag, names, row): return sha(ns(tag) + b"".join(column(n, row[n]) for n in names.split()))

head, size, tree, leaves, wrong, tokens = None, 0, [], 0, 0, 0
lines = (line for path in sys.argv[1:] for line in open(path, encoding="utf-8", errors="surrogateescape", newline="\n"))
for row in (json.loads(line) for line in lines if line.startswith("{")):
    if "random" in row:
        head = digest(b"pgwitness/genesis/v1", GENESIS, row).hex()
        continue
    if "token" in row:
        token = "pii:" + sha(bytes.fromhex(row["subject_key"]) + ns(b"pgwitness/token/v1") + ns(raw(row["class"])) + ns(raw(row["value"]))).hex()
        tokens += 1
        if token != row["token"]: wrong += 1; print(f"token {row['token']} is {token}")
        continue
    recomputed = sha(b"\2" + bytes.fromhex(row["prev_hash"]) + digest(b"pgwitness/entry/v1", ENTRY, row)).hex()
    for what, want, got in (("sequence", size, row["sequence"]), ("prev_hash", head, row["prev_hash"]), ("entry_hash", recomputed, row["entry_hash"])):
        if want != got: wrong += 1; print(f"entry {row['sequence']}: {what} is {got}, want {want}")
    head, size, node, n, leaves = row["entry_hash"], row["sequence"] + 1, sha(b"\0" + bytes.fromhex(row["entry_hash"])), leaves, leaves + 1
    while n & 1: node, n = sha(b"\1" + tree.pop() + node), n >> 1
    tree.append(node)
root = functools.reduce(lambda right, left: sha(b"\1" + left + right), reversed(tree)) if tree else sha(b"")
print(f"size {size}\nhead {head}\nroot {root.hex()}\nwrong {wrong}")
sys.exit(3 if wrong or (head is None and not tokens) else 0)
