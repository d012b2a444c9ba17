package trail

// verb is how an action is told.
type verb struct {
	past   string // between the actor and the resource
	after  string // behind the resource
	itself bool   // needs no resource: "alice logged in"
}

// verbOf is the verb of an action. Actions beyond the built-in vocabulary, and
// past tenses that English makes irregular, are told as "performed <action>
// on".
func verbOf(action string) verb {
	switch action {
	case "create":
		return verb{past: "created"}
	case "update":
		return verb{past: "changed"}
	case "delete":
		return verb{past: "deleted"}
	case "truncate":
		return verb{past: "emptied"}
	case "bulk_create":
		return verb{past: "created", after: " as part of a bulk load"}
	case "bulk_update":
		return verb{past: "changed", after: " as part of a bulk update"}
	case "bulk_delete":
		return verb{past: "deleted", after: " as part of a bulk delete"}
	case "baseline":
		return verb{past: "found"}
	case "baseline_started":
		return verb{past: "began to record the rows that were already in"}
	case "baseline_completed":
		return verb{past: "recorded all rows that were already in"}
	case "baseline_skipped":
		return verb{past: "did not record the rows that were already in"}
	case "role_change":
		return verb{past: "changed the role of"}
	case "price_change":
		return verb{past: "changed the price of"}
	case "pay":
		return verb{past: "paid"}
	case "read":
		return verb{past: "viewed"}
	case "erase":
		return verb{past: "erased the personal data of"}
	case "grant":
		return verb{past: "granted"}
	case "revoke":
		return verb{past: "revoked"}
	case "export":
		return verb{past: "exported"}
	case "key_created":
		return verb{past: "created"}
	case "key_rotated":
		return verb{past: "rotated"}
	case "key_revoked":
		return verb{past: "revoked"}
	case "guard_changed":
		return verb{past: "changed the guard"}
	}
	if past := regular(action); past != "" {
		return verb{past: past}
	}
	if past := intransitive(action); past != "" {
		return verb{past: past, itself: true}
	}
	return verb{past: "performed " + name(action, 60) + " on"}
}

// attempt is what somebody tried to do, who was refused: "refund".
func attempt(action string) string {
	switch {
	case action == "":
		return "change"
	case action == "update":
		return action
	case regular(action) != "", verbOf(action).past == action+"d", verbOf(action).past == action+"ed":
		return action
	}
	return "perform " + name(action, 60) + " on"
}

// regular is the past tense of the everyday business verbs.
func regular(action string) string {
	switch action {
	case "approve", "archive", "restore", "invoice", "close", "reverse", "merge", "release", "receive",
		"reserve", "disable", "enable", "revise", "schedule", "complete":
		return action + "d"
	case "reject", "refund", "adjust", "import", "return", "reopen", "lock", "unlock", "assign",
		"void", "deliver", "block", "unblock", "confirm", "fulfill", "transfer", "publish":
		return action + "ed"
	case "cancel", "ship", "submit":
		return action + action[len(action)-1:] + "ed"
	}
	return ""
}

func intransitive(action string) string {
	switch action {
	case "login":
		return "logged in"
	case "logout":
		return "logged out"
	case "login_failed":
		return "failed to log in"
	case "mfa_challenge":
		return "was asked for a second factor"
	case "api_call":
		return "called the API"
	case "ddl":
		return "changed the structure of the database"
	case "forged_context":
		return "sent a context that is not genuine"
	case "gap":
		return "recorded a gap: changes may have been missed here"
	case "heartbeat":
		return "was watching"
	case "setup":
		return "changed what is installed in the audited database"
	case "start":
		return "began to watch"
	case "stop":
		return "stopped watching"
	case "verify":
		return "verified the trail"
	}
	return ""
}
