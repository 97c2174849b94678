// Package readers reads HTTP/1.1 messages as the parsers do that stand behind and in front of proxies: strictly, as net/http
// does, and with each of the laxnesses that are in use somewhere, alone and together. What a proxy sends on must be the
// same message to all of them: two readers that disagree can be played off against each other (RFC 9112 §11.2).
//
// It is an oracle of tests and imports nothing of the program, so that a mistake there is not repeated here.
package readers
