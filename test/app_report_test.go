package test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// appReport is what docs/third-party-application.md tells.
type appReport struct {
	version                             string
	coverage                            []covered
	status, articles, logins, explained string // as printed
}

func (r *appReport) markdown() []byte {
	var b bytes.Buffer
	attributed, all := uint64(0), uint64(0)
	for _, c := range r.coverage {
		if all += c.changes; c.source != "observed" && c.source != "none" {
			attributed += c.changes
		}
	}
	fmt.Fprintf(&b, `# An application that nobody touched

Written by `+"`make test-app`"+`; edits are lost. Directus %s runs as npm brings it, against an audited database, behind a proxy that sets X-Forwarded-For. An administrator changes a setting, makes a role and a user, and writes an article; the editor logs in after a wrong password, writes,
changes and deletes articles, and uploads a file; the administrator archives two articles at once; and somebody changes one by hand in psql. Nothing in Directus was changed or configured for this. pgwitness was told:

`+"```yaml\n%s```"+`

**%d of %d changes name their actor.** Directus writes a row into directus_activity in the transaction of each change, with user, address and user agent: that is [the source](attribution.md#activity-rows) of most.

| table | known by | changes |
|---|---|---|
`, r.version, dedent(appConfig), attributed, all)
	for _, c := range r.coverage {
		fmt.Fprintf(&b, "| %s | `%s` | %d |\n", c.table, c.source, c.changes)
	}
	fmt.Fprintf(&b, `
## What is missing, and why

- **last_access of directus_users** at a log-in, and the size of a file behind its upload: Directus writes them in statements of their own, without an activity row. The log-in and the upload as such are activity rows, and name actor and address.
- **A log-in that failed** leaves no row in the database. Nobody can audit it there; the application would have to call [pgwitness.event()](events.md).
- **Route**: Directus keeps none. A [comment](recipes.md) would bring it, and is not to be had without a change.
- **Role and e-mail** of the actor: the id comes out of a row that is written behind the change, when the stamp is made already, so the [directory](attribution.md#role-at-the-time-of-action) does not know whom to look up. They are in the trail of directus_users, under the same id.
- **The change by hand** is of the database role, observed, and takes over nobody's name, though the row still says who updated it last.

## The trail, as printed

`+"```\n$ pgwitness trail article\n%s```\n\n```\n$ pgwitness trail --action login\n%s```\n\n```\n$ pgwitness trail article 2 --explain --limit 1\n%s```\n\n```\n$ pgwitness status\n%s```\n", r.articles, r.logins, r.explained, r.status)
	return regexp.MustCompile(`directus_pgw_[a-z0-9]+|pgw_[a-z0-9]+`).ReplaceAllFunc(b.Bytes(), func(name []byte) []byte {
		if bytes.HasPrefix(name, []byte("directus_")) {
			return []byte("directus_app")
		}
		return []byte("shop")
	})
}

// dedent shows a configuration without what only the test needs.
func dedent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimPrefix(text, "\n")) {
		if !strings.Contains(line, "heartbeat_interval") && !strings.Contains(line, "baseline:") {
			b.WriteString(strings.ReplaceAll(line, ", idle_interval: 500ms", ""))
		}
	}
	return b.String()
}
