package demo

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/pgwitness/pgwitness/audit"
)

// member is one of the staff, who works in the admin panel.
type member struct {
	id    string // users.id
	email string
	name  string
	role  string
	ip    string
	agent string
}

// staff lists everybody with an account in the admin panel. The addresses are
// those reserved for documentation: 192.0.2.0/24 is the office in Berlin,
// 198.51.100.0/24 the partners in Rotterdam and Milano, 203.0.113.0/24 is
// somewhere nobody of the shop should be, 2001:db8::/32 are people at home.
func staff() team {
	people := []struct{ name, email, role string }{
		{"Ines Albrecht", "ines.albrecht", "super_admin"},
		{"Tomas Berg", "tomas.berg", "operations_manager"},
		{"Yuki Mori", "yuki.mori", "operations_manager"},
		{"Clara Duval", "clara.duval", "operations_manager"},
		{"Lena Fischer", "lena.fischer", "finance"},
		{"Samuel Okafor", "samuel.okafor", "finance"},
		{"Jana Novotná", "jana.novotna", "finance"},
		{"Ruth Levi", "ruth.levi", "finance"},
		{"Piet de Vries", "piet.devries", "support"},
		{"Amira Haddad", "amira.haddad", "support"},
		{"Noah Keller", "noah.keller", "support"},
		{"Elif Kaya", "elif.kaya", "support"},
		{"Marek Nowak", "marek.nowak", "warehouse"},
		{"Sofia Conti", "sofia.conti", "warehouse"},
		{"Björn Lund", "bjorn.lund", "warehouse"},
		{"Dora O'Hara", "dora.ohara", "auditor"},
	}
	agents := []string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
	}
	out := make(team, len(people))
	for i, p := range people {
		ip := fmt.Sprintf("192.0.2.%d", 20+i)
		if i%5 == 3 {
			ip = fmt.Sprintf("2001:db8:40::%x", 0x10+i)
		}
		email := p.email + "@shop.example"
		out[i] = member{userID(email), email, p.name, p.role, ip, agents[i%len(agents)]}
	}
	return out
}

// userID derives the UUID of an account from its e-mail address, so that the
// shop is the same each time it is made.
func userID(email string) string {
	sum := sha256.Sum256([]byte("shop user " + email))
	var id audit.UUID
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x80 // version 8: of our own making
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// team is the staff at work.
type team []member

// with picks one of the team who has one of the roles.
func (t team) with(rng *rand.Rand, roles ...string) member {
	var fit []member
	for _, m := range t {
		if slices.Contains(roles, m.role) {
			fit = append(fit, m)
		}
	}
	return pick(rng, fit)
}

// named finds one of the team by e-mail address.
func (t team) named(email string) member {
	i := slices.IndexFunc(t, func(m member) bool { return m.email == email })
	return t[i]
}

// reason is why a member of staff did something, the way the panel's form has
// it: a code out of a list, a note in free text, both possibly left empty.
type reason struct{ code, note string }

func refundReasons() []reason {
	return []reason{
		{"customer_request", "Customer returned the goods within 14 days"},
		{"damaged_in_transit", "Photo of the broken parcel in ticket 48213"},
		{"wrong_item", "Wrong colour was sent; customer keeps it"},
		{"late_delivery", "Promised for Friday, came on Tuesday"},
		{"goodwill", "Long-standing customer, \"very\" unhappy – O'Hara agreed"},
		{"", ""},
		{"", ""},
	}
}

func stockReasons() []reason {
	return []reason{
		{"count_difference", "Cycle count"},
		{"damaged", "Forklift, see incident 117"},
		{"found", "Two boxes behind rack 12"},
		{"", ""},
	}
}

// pick takes one element.
func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }
