package enrich

import "github.com/pgwitness/pgwitness/audit"

// claims are what an event says in its own arguments, before what its session
// says.
func (ev *event) claims() [fieldCount]string {
	var c [fieldCount]string
	if ev == nil {
		return c
	}
	c[actorID], c[ipAddress], c[userAgent], c[apiKeyID] = ev.ActorID, ev.IPAddress, ev.UserAgent, ev.APIKeyID
	c[reasonCode], c[reasonNote] = ev.ReasonCode, ev.ReasonNote
	return c
}

// takeEvent takes what the arguments of an event say.
func (a *attribution) takeEvent(ev *event) {
	for i, value := range ev.claims() {
		a.take(i, value, fromEvent)
	}
	if ev != nil && ev.OnBehalfOf != "" {
		a.flag("on_behalf_of", ev.OnBehalfOf)
	}
}

// refused fills in what a guard tells of the statement that it refused: the
// table, and the resource that the row would have been.
func (e *Enricher) refused(n *audit.Entry, ev *event) {
	n.Action, n.Operation = audit.T("refused"), audit.T("refused")
	if ev.Table == "" {
		return
	}
	n.SchemaName, n.TableName = audit.T(ev.Schema), audit.T(ev.Table)
	// A partition's rows are called what the table's are, which the guard is on.
	of := audit.Relation{Schema: ev.Schema, Name: ev.Table}
	if len(ev.Of) == 2 {
		of.Schema, of.Name = ev.Of[0], ev.Of[1]
	}
	n.ResourceType = audit.T(resourceType(&of, e.rules.table(&of)))
}
