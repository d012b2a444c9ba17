package enrich

// fromDirectory is the source of what the application's own table of users said
// of the actor when the stamp was written.
const fromDirectory = "directory"

// takeDirectory takes what the stamp found out about the claimed actor. It is
// about that actor alone: when he turns out to be another one, it counts for
// nothing.
func (a *attribution) takeDirectory(p *payload) {
	said := p.Directory
	if text := said["error"]; text != "" {
		a.flag("directory_error", text)
	}
	if said["actor_id"] == "" || said["actor_id"] != a.claimedActor(p) {
		return
	}
	a.take(actorEmail, said["actor_email"], fromDirectory)
	a.take(actorRole, said["actor_role"], fromDirectory)
	if team := said["team"]; team != "" {
		a.flag("team", team)
	}
}

// claimedActor is the actor of the session variables, else of the presets.
func (a *attribution) claimedActor(p *payload) string {
	if f := a.fields[actorID]; f.source != "" {
		return f.value
	}
	for _, name := range Presets() {
		if id := p.Presets[name]["actor_id"]; id != "" {
			return id
		}
	}
	return ""
}
