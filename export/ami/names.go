package ami

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Variables are what the texts of a distribution configuration may name between double braces:
//
//	{{ imagebuilder:buildDate }}                  2026-11-22T20-45-01.250Z
//	{{ imagebuilder:buildDate:yyyyMMHHss }}       2026112001
//	{{ imagebuilder:buildVersion }}               3
type Variables struct {
	// BuildDate is when the image was built. It has to be the same in every run for the same image: AMIs are found again by their names.
	BuildDate    time.Time
	BuildVersion string
	// ImageName and Version are the image's; they make the name of an AMI whose configuration has none.
	ImageName string
	Version   string
}

// buildDate is the format of a date that is asked for without one, that of EC2 Image Builder. A colon may not be in the name of an AMI.
const buildDate = "yyyy-MM-dd'T'HH-mm-ss.SSS'Z'"

var variable = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)

// Expand puts the variables' values into a text. A variable that there is not is an error, and so is a letter that a date's format has no meaning for.
func Expand(text string, v Variables) (string, error) {
	var failed error
	expanded := variable.ReplaceAllStringFunc(text, func(match string) string {
		value, err := v.value(variable.FindStringSubmatch(match)[1])
		if err != nil && failed == nil {
			failed = fmt.Errorf("expand %q: %w", text, err)
		}
		return value
	})
	if failed != nil {
		return "", failed
	}
	return expanded, nil
}

// ExpandTags gives tags with their values expanded.
func ExpandTags(tags map[string]string, v Variables) (map[string]string, error) {
	expanded := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		value, err := Expand(tags[key], v)
		if err != nil {
			return nil, fmt.Errorf("tag %s: %w", key, err)
		}
		expanded[key] = value
	}
	return expanded, nil
}

func (v Variables) value(name string) (string, error) {
	const date = "imagebuilder:buildDate"
	switch format, formatted := strings.CutPrefix(name, date+":"); {
	case name == date:
		return formatDate(v.BuildDate.UTC(), buildDate)
	case formatted:
		return formatDate(v.BuildDate.UTC(), strings.TrimSpace(format))
	case name == "imagebuilder:buildVersion":
		return v.BuildVersion, nil
	}
	return "", fmt.Errorf("there is no variable %q; use %s, %s:FORMAT or imagebuilder:buildVersion", name, date, date)
}

// formatDate writes a date in a format of Java's SimpleDateFormat: runs of letters are fields, text between single quotes is itself, two single quotes
// are one, and everything that is no letter is itself.
func formatDate(t time.Time, format string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(format); {
		c := format[i]
		switch {
		case c == '\'':
			end := strings.IndexByte(format[i+1:], '\'')
			if end < 0 {
				return "", fmt.Errorf("date format %q: a quote is not closed", format)
			}
			if end == 0 {
				out.WriteByte('\'')
			}
			out.WriteString(format[i+1 : i+1+end])
			i += end + 2
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			n := 1
			for i+n < len(format) && format[i+n] == c {
				n++
			}
			field, err := dateField(t, c, n)
			if err != nil {
				return "", fmt.Errorf("date format %q: %w", format, err)
			}
			out.WriteString(field)
			i += n
		default:
			out.WriteByte(c)
			i++
		}
	}
	return out.String(), nil
}

// maxField bounds the length of one field of a date.
const maxField = 32

// dateField writes the field of a run of n equal letters.
func dateField(t time.Time, letter byte, n int) (string, error) {
	if n > maxField {
		return "", fmt.Errorf("%d times %q; at most %d", n, letter, maxField)
	}
	number := func(value int) (string, error) { return fmt.Sprintf("%0*d", n, value), nil }
	word := func(short, long string) (string, error) {
		if n > 3 {
			return t.Format(long), nil
		}
		return t.Format(short), nil
	}
	switch letter {
	case 'y':
		if n == 2 {
			return t.Format("06"), nil
		}
		return number(t.Year())
	case 'M', 'L':
		if n > 2 {
			return word("Jan", "January")
		}
		return number(int(t.Month()))
	case 'd':
		return number(t.Day())
	case 'D':
		return number(t.YearDay())
	case 'H':
		return number(t.Hour())
	case 'k':
		return number((t.Hour()+23)%24 + 1)
	case 'K':
		return number(t.Hour() % 12)
	case 'h':
		return number((t.Hour()+11)%12 + 1)
	case 'm':
		return number(t.Minute())
	case 's':
		return number(t.Second())
	case 'S':
		return number(t.Nanosecond() / int(time.Millisecond))
	case 'E':
		return word("Mon", "Monday")
	case 'u':
		return number((int(t.Weekday())+6)%7 + 1)
	case 'a':
		return t.Format("PM"), nil
	case 'z':
		return "UTC", nil
	case 'Z':
		return "+0000", nil
	case 'X':
		return "Z", nil
	}
	return "", fmt.Errorf("the letter %q has no meaning; put text between single quotes", letter)
}

// The length of an AMI's name (ec2 RegisterImage, Name).
const minName, maxName = 3, 128

var (
	allowedName = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./\-'@_]*$`)
	notAllowed  = regexp.MustCompile(`[^A-Za-z0-9()\[\] ./\-'@_]+`)
)

// Name gives the name of an AMI: the text with its variables' values, or if it is empty the image's name and version with the date of its build, so
// that every build's AMI has one of its own.
func Name(text string, v Variables) (string, error) {
	if strings.TrimSpace(text) == "" {
		return v.defaultName()
	}
	name, err := Expand(text, v)
	if err != nil {
		return "", fmt.Errorf("name the AMI: %w", err)
	}
	return name, checkName(name)
}

func (v Variables) defaultName() (string, error) {
	date, err := v.value("imagebuilder:buildDate")
	if err != nil {
		return "", err
	}
	name := notAllowed.ReplaceAllString(strings.TrimSpace(v.ImageName+" "+v.Version), "-")
	name = strings.TrimSpace(name[:min(len(name), maxName-1-len(date))]) + " " + date
	return name, checkName(name)
}

func checkName(name string) error {
	if len(name) < minName || len(name) > maxName {
		return fmt.Errorf("name %q of the AMI has %d characters; it needs %d to %d", name, len(name), minName, maxName)
	}
	if !allowedName.MatchString(name) {
		return fmt.Errorf("name %s of the AMI has %s; letters, digits and ( ) [ ] space . / - ' @ _ are allowed", strconv.Quote(name),
			strconv.Quote(notAllowed.FindString(name)))
	}
	return nil
}
