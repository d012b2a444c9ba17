package trail

import (
	"github.com/mileusna/useragent"

	"github.com/pgwitness/pgwitness/audit"
)

// agent says in words which program a user agent stands for: "Firefox 128.0 on
// Windows (desktop)". It is made of the raw text, which is what is stored and
// hashed, at the time of reading; NULL when the text is of no known program.
func agent(raw audit.Text) audit.Text {
	ua := useragent.Parse(raw.String())
	if ua.Name == "" || ua.Name == raw.String() {
		return nil
	}
	words := ua.Name
	if ua.Version != "" {
		words += " " + ua.Version
	}
	if ua.OS != "" {
		words += " on " + ua.OS
	}
	switch {
	case ua.Bot:
		words += " (bot)"
	case ua.Tablet:
		words += " (tablet)"
	case ua.Mobile:
		words += " (mobile)"
	case ua.Desktop:
		words += " (desktop)"
	}
	return audit.T(words)
}
