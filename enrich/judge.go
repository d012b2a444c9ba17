package enrich

import (
	"fmt"
	"slices"
	"strings"
)

// The severities of an act against the auditor.
const (
	// Critical: from here on changes are missing, or nobody is named for them, or
	// somebody could forge the trail.
	Critical = "critical"
	// Suspicious: it may be part of the application's life.
	Suspicious = "suspicious"
)

// Notice tells whoever runs the Enricher of DDL that concerns the auditor.
type Notice struct {
	Subject  string // table public.orders, function pgwitness.stamp, publication p
	Severity string // Critical or Suspicious; "": no alarm, the act was announced, or a repair
	What     string // one sentence
	Lost     bool   // a table has values that are in no log
}

// Notices returns what was noticed since the last call. A redelivery is noticed
// again.
func (e *Enricher) Notices() []Notice {
	n := e.notices
	e.notices = nil
	return n
}

// notice remembers an alarm, and what pgwitness setup does to its own.
func (e *Enricher) notice(i *ddlItem, t *ddlDetails) {
	if t.Severity == "" && !e.tx.announced && i.followed == nil && i.altered == nil {
		return
	}
	e.notices = append(e.notices, Notice{
		Subject: i.subject(), Severity: t.Severity, What: t.Why, Lost: i.altered != nil && len(i.altered.Lost) > 0,
	})
}

// subject names an object as the watcher does, which compares catalogs: a
// trigger counts for its table, a function has no arguments.
func (i *ddlItem) subject() string {
	if _, table, ok := strings.Cut(i.Name, " on "); ok && i.Type == "trigger" {
		return "table " + table
	}
	if _, publication, ok := strings.Cut(i.Name, " in publication "); ok {
		return "publication " + unquoted(publication)
	}
	if i.Type == "publication" {
		return "publication " + unquoted(i.Name)
	}
	name := i.Name
	if i.Type == "function" {
		name, _, _ = strings.Cut(name, "(")
	}
	return i.Type + " " + name
}

// judge says whether a command works against the auditor. What setup announced
// does not.
func (e *Enricher) judge(i *ddlItem, d *ddl) (severity, why string) {
	if e.tx.announced {
		return "", ""
	}
	switch subject := i.subject(); {
	case len(d.Readers) > 0 && i.Name == "":
		return Critical, fmt.Sprintf("%s has rights to the keys of the stamps", strings.Join(d.Readers, ", "))
	case i.Schema == "pgwitness" || i.Name == "pgwitness" || strings.HasPrefix(i.Name, "pgwitness.") || strings.Contains(i.Name, " on pgwitness."):
		return Critical, fmt.Sprintf("%s on the %s %s, which belongs to pgwitness", i.Tag, i.Type, i.Name)
	case i.Type == "trigger" && (strings.HasPrefix(i.Name, "pgwitness_stamp") || strings.HasPrefix(i.Name, "pgwitness_guard_")):
		return Critical, fmt.Sprintf("%s on the stamp trigger or guard %s", i.Tag, i.Name)
	case subject == "publication "+e.rules.publication:
		return Critical, fmt.Sprintf("%s on the publication of this stream", i.Tag)
	case i.Audited && i.Dropped:
		return Suspicious, fmt.Sprintf("the audited table %s was dropped", i.Name)
	case i.altered != nil:
		return i.altered.judge()
	case d.Error != "":
		return Suspicious, fmt.Sprintf("%s could not be recorded whole (SQLSTATE %s)", i.Tag, d.Error)
	}
	return "", ""
}

// judge looks at what capture depends on in a followed table.
func (a *alteration) judge() (severity, why string) {
	b, c := a.Before, a.After
	switch {
	case b.Stamps && !c.Stamps:
		return Critical, fmt.Sprintf("a stamp trigger of %s is disabled, altered or gone: nobody will be named for its changes", c.SQL)
	case len(lost(b.Guards, c.Guards)) > 0:
		return Critical, fmt.Sprintf("the guard %s of %s is disabled or gone: what it refuses is let through", strings.Join(lost(b.Guards, c.Guards), ", "), c.SQL)
	case b.Persistence == "p" && c.Persistence != "p":
		return Critical, fmt.Sprintf("%s is UNLOGGED: its changes are in no log", c.SQL)
	case b.Identity != c.Identity && (b.Identity == "f" || c.Identity == "n"):
		return Critical, fmt.Sprintf("the replica identity of %s became %s: old values are not in the log", c.SQL, strings.ToUpper(identityName(c.Identity)))
	case b.Identity != c.Identity:
		return Suspicious, fmt.Sprintf("the replica identity of %s became %s", c.SQL, strings.ToUpper(identityName(c.Identity)))
	}
	return "", ""
}

// unquoted is a name without the quotes that SQL wants around it.
func unquoted(name string) string {
	if inner, ok := strings.CutPrefix(name, `"`); ok {
		return strings.ReplaceAll(strings.TrimSuffix(inner, `"`), `""`, `"`)
	}
	return name
}

// lost lists the words of before that are not in after.
func lost(before, after []string) []string {
	return slices.DeleteFunc(slices.Clone(before), func(w string) bool { return slices.Contains(after, w) })
}

// identityName is a replica identity in words.
func identityName(code string) string {
	if code == "" {
		return "unknown"
	}
	return identityWord(code[0])
}

// SecretName reports whether a setting or option of this name holds a secret,
// as far as names tell.
func SecretName(name string) bool { return secretName.MatchString(name) }
