package marathon

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// EnvValue is a variable: a text, or the name of a secret of the app.
type EnvValue struct {
	Value  string
	Secret string
}

type secretRef struct {
	Secret string `json:"secret"`
}

// MarshalJSON implements json.Marshaler.
func (v EnvValue) MarshalJSON() ([]byte, error) {
	if v.Secret != "" {
		return json.Marshal(secretRef{v.Secret})
	}
	return json.Marshal(v.Value)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *EnvValue) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var ref secretRef
		err := json.Unmarshal(b, &ref)
		if err == nil && ref.Secret == "" {
			err = fmt.Errorf(`a variable is a string, or {"secret": NAME}`)
		}
		v.Secret = ref.Secret
		return err
	}
	return json.Unmarshal(b, &v.Value)
}

// unlimited is a Limit without one.
const unlimited = "unlimited"

// Limit is a number, or none.
type Limit struct {
	Value     float64
	Unlimited bool
}

// MarshalJSON implements json.Marshaler.
func (l Limit) MarshalJSON() ([]byte, error) {
	if l.Unlimited {
		return json.Marshal(unlimited)
	}
	return json.Marshal(l.Value)
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *Limit) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte(`"unlimited"`)) {
		l.Unlimited = true
		return nil
	}
	return json.Unmarshal(b, &l.Value)
}

// Unreachable says what becomes of instances on nodes that are away.
type Unreachable struct {
	Disabled             bool
	InactiveAfterSeconds int64
	ExpungeAfterSeconds  int64
}

type unreachable struct {
	InactiveAfterSeconds int64 `json:"inactiveAfterSeconds"`
	ExpungeAfterSeconds  int64 `json:"expungeAfterSeconds"`
}

// MarshalJSON implements json.Marshaler.
func (u Unreachable) MarshalJSON() ([]byte, error) {
	if u.Disabled {
		return json.Marshal("disabled")
	}
	return json.Marshal(unreachable{u.InactiveAfterSeconds, u.ExpungeAfterSeconds})
}

// UnmarshalJSON implements json.Unmarshaler.
func (u *Unreachable) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte(`"disabled"`)) {
		*u = Unreachable{Disabled: true}
		return nil
	}
	var v unreachable
	err := json.Unmarshal(b, &v)
	*u = Unreachable{InactiveAfterSeconds: v.InactiveAfterSeconds, ExpungeAfterSeconds: v.ExpungeAfterSeconds}
	return err
}
