package store

// Decode reads a row of a table as the log holds it.
func Decode(t Def, b []byte) (Object, error) { return decode(t.definition(), b) }

// Encode is the inverse of Decode.
func Encode(t Def, o Object) []byte { return encode(t.definition(), o) }
