package adapters

import (
	"context"
	"testing"
)

// FuzzAnswer: whatever an adapter answers is values or a fault.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"items":[{"describedObject":{"name":"a"},"value":"1500m"}]}`), false)
	f.Add([]byte(`{"items":[{"value":"9e99"},{}]}`), true)
	f.Add([]byte(`[]`), true)
	f.Fuzz(func(t *testing.T, body []byte, external bool) {
		a := New(nil, func(context.Context, string) ([]byte, error) { return body, nil })
		if got := a.ask(t.Context(), "/", external); !got.Asked || (got.Fault == "") != (len(got.Values) > 0) {
			t.Errorf("%s: %+v", body, got)
		}
	})
}
