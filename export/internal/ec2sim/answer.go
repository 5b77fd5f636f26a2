package ec2sim

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// element is an element of an answer: text, or other elements.
type element struct {
	name     string
	text     string
	children []element
}

func el(name string, children ...element) element { return element{name: name, children: children} }

// text is an element with a value. It is left out if that is empty.
func text(name, value string) element { return element{name: name, text: value} }

func number(name string, n int64) element { return text(name, strconv.FormatInt(n, 10)) }

func flag(name string, v bool) element { return text(name, strconv.FormatBool(v)) }

// list is a list as EC2 writes it, with an item element for each member.
func list(name string, items ...[]element) element {
	e := element{name: name, children: []element{}}
	for _, item := range items {
		e.children = append(e.children, el("item", item...))
	}
	return e
}

func tagSet(tags map[string]string) element {
	e := list("tagSet")
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		e.children = append(e.children, el("item", text("key", key), element{name: "value", text: tags[key], children: nil}))
	}
	return e
}

func (e element) write(b *bytes.Buffer) {
	if e.text == "" && e.children == nil {
		return
	}
	b.WriteString("<" + e.name + ">")
	xml.EscapeText(b, []byte(e.text))
	for _, child := range e.children {
		child.write(b)
	}
	b.WriteString("</" + e.name + ">")
}

// requestID is the same for all: nobody looks at it.
const requestID = "7a62c49f-347e-4fc4-9331-6e8eEXAMPLE"

// answerEC2 writes the answer of an action of EC2.
func answerEC2(w http.ResponseWriter, action string, answer []element) {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	fmt.Fprintf(&b, `<%sResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>%s</requestId>`, action, requestID)
	for _, e := range answer {
		e.write(&b)
	}
	fmt.Fprintf(&b, "</%sResponse>", action)
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.Write(b.Bytes())
}

// fault is an error that AWS answers with.
type fault struct {
	status        int
	code, message string
}

func (f *fault) Error() string { return f.code + ": " + f.message }

// refuse makes the answer to a wrong request.
func refuse(code, format string, a ...any) *fault {
	return &fault{http.StatusBadRequest, code, fmt.Sprintf(format, a...)}
}

// answerFault writes an error as the service's protocol has it.
func answerFault(w http.ResponseWriter, service string, f *fault) {
	var b bytes.Buffer
	code, message := text("Code", f.code), text("Message", f.message)
	switch service {
	case "ec2":
		el("Response", el("Errors", el("Error", code, message)), text("RequestID", requestID)).write(&b)
	case "s3":
		el("Error", code, message, text("RequestId", requestID)).write(&b)
	case "iam", "sts":
		el("ErrorResponse", el("Error", text("Type", "Sender"), code, message), text("RequestId", requestID)).write(&b)
	default: // the JSON protocols
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Amzn-Errortype", f.code)
		w.WriteHeader(f.status)
		json.NewEncoder(w).Encode(map[string]string{"__type": f.code, "message": f.message, "Message": f.message})
		return
	}
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.WriteHeader(f.status)
	w.Write(append([]byte(xml.Header), b.Bytes()...))
}
