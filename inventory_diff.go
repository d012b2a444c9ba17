package pgwitness

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pgwitness/pgwitness/enrich"
)

// tampering is one act against the auditor between two looks.
type tampering struct {
	enrich.Notice
	before, after any
	replaced      bool // a function by another one, with the rights that it had
}

// tamperingTo lists what was done between b and now that weakens the auditor.
// What was mended is none.
func (b *inventory) tamperingTo(now *inventory, ddl string) []tampering {
	var list []tampering
	add := func(subject, severity string, before, after any, format string, args ...any) {
		list = append(list, tampering{Notice: enrich.Notice{Subject: subject, Severity: severity, What: fmt.Sprintf(format, args...)}, before: before, after: after})
	}
	for _, oid := range slices.Sorted(maps.Keys(b.Tables)) {
		before, after := b.Tables[oid], now.Tables[oid]
		if severity, what := before.tamperedTo(after, now.exists(oid)); severity != "" {
			add("table "+cmp.Or(after.Name, before.Name), severity, before, after, "%s", what)
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(b.Objects)) {
		trigger := strings.HasPrefix(subject, "event trigger ")
		if trigger && ddl == "off" {
			continue
		}
		before := b.Objects[subject]
		after, there := now.Objects[subject]
		switch {
		case !there:
			add(subject, enrich.Critical, before, nil, "the %s is gone", subject)
		case trigger && before.Content == "sound" && after.Content != "sound":
			add(subject, enrich.Critical, before, after, "the %s is disabled or altered: DDL is not recorded", subject)
		case trigger && before.Content == "sound" && before.Version != after.Version:
			add(subject, enrich.Critical, before, after, "the %s was altered and altered back: DDL in between was not recorded", subject)
		case !trigger && (before.Content != after.Content || before.Rights != after.Rights):
			add(subject, enrich.Critical, before, after, "the %s was replaced or altered", subject)
			list[len(list)-1].replaced = before.Rights == after.Rights
		case !trigger && before.Version != after.Version:
			add(subject, enrich.Suspicious, before, after, "the %s was altered, and perhaps altered back", subject)
		}
	}
	for _, reader := range now.Readers {
		if !slices.Contains(b.Readers, reader) {
			add("keys "+reader, enrich.Critical, nil, nil, "%s has rights to the keys of the stamps", reader)
		}
	}
	list = append(list, b.blindingTo(now)...)
	return list
}

func (c *inventory) exists(oid string) bool {
	n, err := strconv.ParseInt(oid, 10, 64)
	return err == nil && slices.Contains(c.Existing, n)
}

// tamperedTo compares one table. after is zero when it is neither published nor
// stamped any more.
func (t watchedTable) tamperedTo(after watchedTable, exists bool) (severity, what string) {
	switch {
	case after.Name == "" && !exists:
		return enrich.Suspicious, fmt.Sprintf("the audited table %s was dropped", t.Name)
	case after.Name == "":
		return enrich.Critical, fmt.Sprintf("%s is neither published nor stamped any more", t.Name)
	case t.Sound && !after.Sound:
		return enrich.Critical, fmt.Sprintf("a stamp trigger of %s is disabled, altered or gone: nobody will be named for its changes", after.Name)
	case t.Persistence != after.Persistence && after.Persistence != "p":
		return enrich.Critical, fmt.Sprintf("%s is UNLOGGED: its changes are in no log", after.Name)
	case t.Identity != after.Identity && (t.Identity == "f" || after.Identity == "n"):
		return enrich.Critical, fmt.Sprintf("the replica identity of %s is no longer what it was: old values are not in the log", after.Name)
	case t.Identity != after.Identity && after.Identity != "f":
		return enrich.Suspicious, fmt.Sprintf("the replica identity of %s is another one", after.Name)
	case t.Sound && after.Sound && t.Version != after.Version:
		return enrich.Suspicious, fmt.Sprintf("a stamp trigger of %s was altered and altered back", after.Name)
	}
	return "", ""
}

// blindingSettings are those by which a role or database escapes the triggers.
func blindingSettings() []string { return []string{"session_replication_role", "event_triggers"} }

// blindingTo lists settings that were made worse for capture.
func (b *inventory) blindingTo(now *inventory) []tampering {
	var list []tampering
	for _, owner := range slices.Sorted(maps.Keys(now.Settings)) {
		for _, setting := range now.Settings[owner] {
			name, _, _ := strings.Cut(setting, "=")
			if slices.Contains(blindingSettings(), name) && !slices.Contains(b.Settings[owner], setting) {
				list = append(list, tampering{Notice: enrich.Notice{Subject: owner, Severity: enrich.Critical,
					What: fmt.Sprintf("%s was set for %s", setting, owner)}, before: b.Settings[owner], after: now.Settings[owner]})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now.Server)) {
		before, after := b.Server[name], now.Server[name]
		if severity := worse(name, before, after); severity != "" {
			list = append(list, tampering{Notice: enrich.Notice{Subject: "setting " + name, Severity: severity,
				What: fmt.Sprintf("%s was %s and is %s", name, cmp.Or(before, "unset"), after)}, before: before, after: after})
		}
	}
	return list
}

// worse says how bad it is for capture that a setting of the server changed.
func worse(name, before, after string) string {
	if before == after || before == "" {
		return ""
	}
	was, _ := strconv.ParseInt(before, 10, 64) // a setting that is about to change has words behind its number: 0
	is, err := strconv.ParseInt(after, 10, 64)
	switch name {
	case "wal_level":
		return enrich.Critical
	case "event_triggers":
		if after == "off" {
			return enrich.Critical
		}
	case "max_slot_wal_keep_size": // -1: no bound
		if err != nil || is >= 0 && (was < 0 || is < was) {
			return enrich.Suspicious
		}
	case "idle_replication_slot_timeout": // 0: never
		if err != nil || is > 0 && (was == 0 || is < was) {
			return enrich.Suspicious
		}
	case "max_replication_slots", "max_wal_senders":
		if err != nil || is < was {
			return enrich.Suspicious
		}
	}
	return ""
}

// mostRoles is how many roles are listed when they are recorded first; of more,
// their number is.
const mostRoles = 1000

// recordRoles writes the entries of what changed in roles, memberships and the
// settings of roles and databases. Who did it the catalog does not tell: the
// actor is pgwitness, which found it.
func (s *stream) recordRoles(ctx context.Context, t *tenure, before, now *inventory, since, found string) error {
	if before == nil {
		e := roleEvent{Change: "recorded for the first time", After: now.Roles, Found: found}
		if len(now.Roles) > mostRoles {
			e.After = map[string]int{"roles": len(now.Roles)}
		}
		_, err := t.report(ctx, act{action: "role_changed", resourceType: "db.roles", resourceID: s.cfg.Name, details: e})
		return err
	}
	for _, name := range union(before.Roles, now.Roles) {
		was, had := before.Roles[name]
		is, has := now.Roles[name]
		e := roleEvent{Change: "changed", Before: was, After: is, Since: since, Found: found}
		switch {
		case !had:
			e.Change, e.Before = "created", nil
		case !has:
			e.Change, e.After = "dropped", nil
		case reflect.DeepEqual(was, is):
			continue
		}
		if _, err := t.report(ctx, act{action: "role_changed", resourceType: "db.role", resourceID: name, details: e}); err != nil {
			return err
		}
		s.log.Info().Str("role", name).Str("change", e.Change).Msg("role changed")
	}
	for _, owner := range union(before.Settings, now.Settings) {
		was, is := before.Settings[owner], now.Settings[owner]
		if slices.Equal(was, is) {
			continue
		}
		e := roleEvent{Change: "settings", Since: since, Found: found}
		if was != nil {
			e.Before = was
		}
		if is != nil {
			e.After = is
		}
		if _, err := t.report(ctx, act{action: "role_changed", resourceType: "db.settings", resourceID: owner, details: e}); err != nil {
			return err
		}
	}
	return nil
}

// union is the keys of both maps, sorted.
func union[T any](a, b map[string]T) []string {
	all := slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b)))
	slices.Sort(all)
	return slices.Compact(all)
}
