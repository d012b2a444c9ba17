package enrich

import "testing"

// A stamp with short names says what one with the whole names said, in every
// field; a name that neither form has is nobody's.
func TestShortNamesOfClaims(t *testing.T) {
	if n := len(shortNames()); n != 13 {
		t.Errorf("%d names, want those of the 13 session variables", n)
	}
	r := orders('f')
	for short, whole := range shortNames() {
		value := "human" // a type is one of a few words
		if whole == "context" {
			value = `{\"actor_id\":\"in the context\"}`
		}
		one := enrichOne(t, Config{}, stamp(`{"x":7,"u":"web","c":{"`+short+`":"`+value+`"}}`), insertOrder(r))[0]
		other := enrichOne(t, Config{}, stamp(`{"x":7,"u":"web","c":{"`+whole+`":"`+value+`"}}`), insertOrder(r))[0]
		neither := enrichOne(t, Config{}, stamp(`{"x":7,"u":"web","c":{"zz":"`+value+`"}}`), insertOrder(r))[0]
		if one.Attribution.String() != other.Attribution.String() || one.Attribution.String() == neither.Attribution.String() {
			t.Errorf("%s: %s\n%s: %s", short, one.Attribution, whole, other.Attribution)
		}
	}
}
