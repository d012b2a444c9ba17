package trail

import (
	"testing"

	"github.com/pgwitness/pgwitness/audit"
)

func TestAgent(t *testing.T) {
	for raw, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0":                                                        "Firefox 128.0 on Windows (desktop)",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1": "Safari 17.5 on iOS (mobile)",
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)":                                                                "Googlebot 2.1 (bot)",
		"": "",
	} {
		if got := agent(audit.T(raw)).String(); got != want {
			t.Errorf("%q is %q, want %q", raw, got, want)
		}
	}
}
