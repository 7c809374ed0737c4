package wire

import "testing"

// FuzzAssignment: what a manager sends of an object is the object or an error.
func FuzzAssignment(f *testing.F) {
	for _, table := range []string{"pods", "secrets", "services", "nodes", "none", ""} {
		f.Add(table, "ns/name", []byte{10, 0}, false)
	}
	f.Fuzz(func(t *testing.T, table, key string, raw []byte, deleted bool) {
		item, err := decodeItem(&Assignment{Table: table, Key: key, Object: raw, Deleted: deleted})
		if err == nil && (item.Object == nil) != deleted {
			t.Errorf("%s %s: %+v", table, key, item)
		}
	})
}

// FuzzToken: what is read as a token is written as it was.
func FuzzToken(f *testing.F) {
	f.Add(NewToken("0123456789012345678901234567890123456789012345678901234567890123", false).String())
	f.Add("TRIREME-1-")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseToken(s)
		if err != nil {
			return
		}
		if again, err := ParseToken(token.String()); err != nil || again != token {
			t.Errorf("%q: %+v, then %+v, %v", s, token, again, err)
		}
	})
}
