package notify

import (
	"fmt"
	"slices"
	"strings"

	"allclear/internal/fault"
)

// Templates names the chat services whose form of message a webhook can take.
func Templates() []string {
	names := []string{}
	for name := range templates() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func templates() map[string]func(*Message) any {
	return map[string]func(*Message) any{
		"slack": slack, "mattermost": mattermost, "discord": discord, "teams": teams,
	}
}

// object is a JSON object of a foreign service.
type object = map[string]any

// chatMost is how much text a chat message may hold, in bytes: below the
// smallest limit of the four services.
const chatMost = 1800

// body is the message without its headline. escape takes the markup out of a
// value; bold names a fact in the service's own way.
func body(m *Message, escape func(string) string, bold string) string {
	var lines []string
	switch m.Type {
	case Test:
		return escape("Somebody ran: allclear notify test. Nothing is wrong.")
	case Digest, Resync:
		for _, b := range bullets(m) {
			lines = append(lines, "• "+escape(b))
		}
	default:
		for _, f := range facts(m) {
			lines = append(lines, bold+f.name+bold+": "+escape(f.value))
		}
		for i, s := range steps(m) {
			lines = append(lines, fmt.Sprintf("%d. %s", i+1, escape(s)))
		}
	}
	return fit(lines)
}

// fit drops whole lines at the end, so that no escape is cut in half.
func fit(lines []string) string {
	size := 0
	for i, l := range lines {
		if size += len(l) + 1; size > chatMost {
			return strings.Join(append(lines[:i:i], "…"), "\n")
		}
	}
	return strings.Join(lines, "\n")
}

// tint is the colour of a severity, as the page has it.
func tint(m *Message) string {
	if m.Type == Clear || m.Type == Test {
		return "#2e7d32"
	}
	switch m.Severity() {
	case fault.Critical:
		return "#b71c1c"
	case fault.Major:
		return "#d84315"
	case fault.Minor:
		return "#f9a825"
	}
	return "#546e7a"
}

// slack writes plain text, which means nothing there; only the headline is read
// as mrkdwn, where &, < and > begin links and mentions.
func slack(m *Message) any {
	head := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(headline(m))
	same := func(s string) string { return s }
	return object{"text": head, "attachments": []object{{
		"color": tint(m), "fallback": head,
		"blocks": []object{{"type": "section", "text": object{"type": "plain_text", "text": body(m, same, ""), "emoji": false}}},
	}}}
}

// mattermost writes Markdown; a broken "@" calls nobody.
func mattermost(m *Message) any {
	escape := func(s string) string { return strings.ReplaceAll(markdown(s), "@", "@\u200b") }
	head := escape(headline(m))
	return object{"text": head, "attachments": []object{{"color": tint(m), "fallback": head, "text": body(m, escape, "**")}}}
}

// discord writes Markdown and allows no mention at all.
func discord(m *Message) any {
	var colour int
	_, _ = fmt.Sscanf(tint(m), "#%x", &colour) // tint is ours
	return object{
		"content": cut(markdown(headline(m)), chatMost), "allowed_mentions": object{"parse": []string{}},
		"embeds": []object{{"color": colour, "description": body(m, markdown, "**")}},
	}
}

// teams writes an Adaptive Card, as its Workflows webhooks take it.
func teams(m *Message) any {
	style := map[bool]string{true: "good", false: "attention"}[m.Type == Clear || m.Type == Test]
	block := func(text string, more object) object {
		b := object{"type": "TextBlock", "text": text, "wrap": true}
		for k, v := range more {
			b[k] = v
		}
		return b
	}
	return object{"type": "message", "attachments": []object{{
		"contentType": "application/vnd.microsoft.card.adaptive",
		"content": object{
			"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
			"body": []object{
				block(markdown(headline(m)), object{"weight": "bolder", "size": "medium", "color": style}),
				block(strings.ReplaceAll(body(m, markdown, "**"), "\n", "\n\n"), nil),
			},
		},
	}}}
}

// markdown takes the meaning from every character that has one there.
func markdown(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 && strings.ContainsRune("\\`*_{}[]()<>#+-!|~:@", r) && r != '-' && r != ':' && r != '@' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
