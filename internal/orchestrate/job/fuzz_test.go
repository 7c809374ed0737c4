package job

import "testing"

// FuzzParseIndexes: what is read of any text is in order, and is read back as it is
// written.
func FuzzParseIndexes(f *testing.F) {
	for _, s := range []string{"", "1", "1,3-5,7", "5-3", "3,3", "1-2147483647", "-1", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set := parseIndexes(text)
		for i, r := range set {
			if r.last < r.first || i > 0 && r.first <= set[i-1].last {
				t.Fatalf("%q: %v", text, set)
			}
		}
		if again := parseIndexes(set.String()); again.String() != set.String() {
			t.Errorf("%q: %s, then %s", text, set, again)
		}
	})
}
