package resource

import (
	"fmt"
	"strconv"
	"strings"

	mesosv1 "trireme/internal/mesos/v1"
)

// Attributes reads the text form of an agent's attributes, "rack:abc;level:10;keys:[1000-1500]":
// a number is a SCALAR, ranges are RANGES, anything else is TEXT (docs "Attributes and
// Resources").
func Attributes(text string) ([]*mesosv1.Attribute, error) {
	var out []*mesosv1.Attribute
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" || value == "" {
			return nil, fmt.Errorf("attributes: %w", invalid("%q is not of the form NAME:VALUE", part))
		}
		a, err := attribute(name, value)
		if err != nil {
			return nil, fmt.Errorf("attributes: %q: %w", part, err)
		}
		out = append(out, a)
	}
	return out, nil
}

func attribute(name, value string) (*mesosv1.Attribute, error) {
	a := &mesosv1.Attribute{Name: &name}
	switch {
	case strings.HasPrefix(value, "["):
		inner, ok := strings.CutSuffix(value[1:], "]")
		if !ok {
			return nil, invalid("ranges are written [FROM-TO, FROM-TO]")
		}
		ranges, err := parseRanges(inner)
		if err != nil {
			return nil, err
		}
		r := Resource{Name: name, Kind: Ranges, Ranges: ranges}
		a.Type, a.Ranges = mesosv1.Value_RANGES.Enum(), r.message(false).Ranges
	case strings.HasPrefix(value, "{"):
		return nil, invalid("an attribute is text, a number or ranges: a set cannot be one")
	default:
		if n, err := strconv.ParseFloat(value, 64); err == nil && n-n == 0 {
			a.Type, a.Scalar = mesosv1.Value_SCALAR.Enum(), &mesosv1.Value_Scalar{Value: &n}
		} else {
			a.Type, a.Text = mesosv1.Value_TEXT.Enum(), &mesosv1.Value_Text{Value: &value}
		}
	}
	return a, nil
}
