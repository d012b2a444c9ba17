package enrich

import "github.com/pgwitness/pgwitness/audit"

// Activity names the columns of a table of the application's own into which it
// writes, in the transaction of each change, who made it. Such a row comes
// behind the change as a rule, so a transaction is searched for it first.
type Activity struct {
	// Actor is the column of the actor, as user. Empty: the table is none.
	Actor string `yaml:"actor"`
	// IPAddress is the column of his address. Default: none.
	IPAddress string `yaml:"ip_address"`
	// UserAgent is the column of his program. Default: none.
	UserAgent string `yaml:"user_agent"`
}

// activityColumns are the indexes of the columns; -1 where there is none.
type activityColumns struct {
	actor, address, agent int
	source                string // as attribution names it
}

func (t Table) activityColumns(r *audit.Relation) activityColumns {
	return activityColumns{
		actor: columnIndex(r, t.Activity.Actor), address: columnIndex(r, t.Activity.IPAddress), agent: columnIndex(r, t.Activity.UserAgent),
		source: fromRow + ":" + tableName(r.Schema, r.Name),
	}
}

// activity is what the activity rows of a transaction say, all of them together.
type activity struct {
	actor, address, agent string
	source                string
	several               bool // they name several actors, so none
}

// readActivity takes the activity rows of tx before its first entry is made. Of
// a transaction in several parts, each part is judged by what was seen up to
// its end.
func (e *Enricher) readActivity(tx *audit.Tx) {
	if !e.rules.activity {
		return
	}
	for i := range tx.Changes {
		c := &tx.Changes[i]
		if c.Op != audit.Insert {
			continue
		}
		if cols := e.plan(c.Relation).activity; cols.actor >= 0 {
			e.tx.activity.add(activity{
				actor: writtenNow(c, cols.actor), address: writtenNow(c, cols.address), agent: writtenNow(c, cols.agent), source: cols.source,
			})
		}
	}
}

// add takes one more row. One without an actor says nothing, and what two rows
// do not agree on is not taken.
func (a *activity) add(row activity) {
	switch {
	case row.actor == "" || a.several:
	case a.actor == "":
		*a = row
	case a.actor != row.actor:
		*a = activity{several: true}
	default:
		if a.address != row.address {
			a.address = ""
		}
		if a.agent != row.agent {
			a.agent = ""
		}
	}
}

// takeActivity takes the actor, and the rest only if it is his.
func (a *attribution) takeActivity(said activity) {
	if said.several {
		a.flag("activity", "names several actors")
		return
	}
	a.take(actorID, said.actor, said.source)
	if a.fields[actorID].value == said.actor {
		a.take(ipAddress, said.address, said.source)
		a.take(userAgent, said.agent, said.source)
	}
}
