package kmip

import (
	"slices"
	"strings"
	"time"

	"allclear/kmip/ttlv"
)

// AttributeRef names an attribute, in the same way for all versions of the protocol:
// by the name in the specification (Cryptographic Algorithm), or x-NAME and y-NAME
// for custom attributes of clients and servers. Vendor is set only for other vendors'
// attributes of KMIP 2.x.
type AttributeRef struct {
	Vendor string
	Name   string
}

// Names makes references of names.
func Names(names ...string) []AttributeRef {
	refs := make([]AttributeRef, len(names))
	for i, n := range names {
		refs[i].Name = n
	}
	return refs
}

// Attribute is an attribute of an object. The protocol versions write it differently: 1.x as name, index
// and value; 2.x as an item with the attribute's own tag.
type Attribute struct {
	AttributeRef
	Index *int32 // of several with one name; KMIP 1.x only, nil: not told
	Value ttlv.Value
}

// Name is a name of an object (KMIP 2.1 section 4.34).
type Name struct {
	Value string
	Type  NameType
}

// Attr makes an attribute by its name in the specification.
func Attr(name string, v ttlv.Value) Attribute {
	return Attribute{AttributeRef: AttributeRef{Name: name}, Value: v}
}

// TextAttr makes an attribute with a text, such as a custom attribute x-NAME or the Object Group.
func TextAttr(name, text string) Attribute { return Attr(name, ttlv.TextValue(text)) }

// EnumAttr makes an attribute with a value of an enumeration.
func EnumAttr[T ~uint32](name string, v T) Attribute {
	return Attr(name, ttlv.EnumerationValue(uint32(v)))
}

// DateAttr makes an attribute with a date, to the second.
func DateAttr(name string, at time.Time) Attribute { return Attr(name, ttlv.DateTimeValue(at)) }

// NameAttr makes the attribute Name with an uninterpreted text.
func NameAttr(name string) Attribute {
	var e ttlv.Encoder
	Name{name, NameTypeUninterpretedTextString}.encode(&e)
	return Attr("Name", ttlv.StructureValue(e.Bytes()))
}

// AlgorithmAttr makes the attribute Cryptographic Algorithm.
func AlgorithmAttr(a CryptographicAlgorithm) Attribute { return EnumAttr("Cryptographic Algorithm", a) }

// LengthAttr makes the attribute Cryptographic Length, in bits.
func LengthAttr(bits int32) Attribute {
	return Attr("Cryptographic Length", ttlv.IntegerValue(bits))
}

// UsageAttr makes the attribute Cryptographic Usage Mask.
func UsageAttr(m CryptographicUsageMask) Attribute {
	return Attr("Cryptographic Usage Mask", ttlv.IntegerValue(int32(m)))
}

// ObjectName reads the attribute Name.
func (a Attribute) ObjectName() (Name, bool) {
	if a.AttributeRef != (AttributeRef{Name: "Name"}) || a.Value.Type != ttlv.TypeStructure {
		return Name{}, false
	}
	var d dec
	d.Reset(a.Value.Body)
	n := d.name()
	return n, d.Err() == nil && !d.More()
}

// Find answers the first attribute with the name.
func Find(list []Attribute, name string) (Attribute, bool) {
	i := slices.IndexFunc(list, func(a Attribute) bool { return a.AttributeRef == AttributeRef{Name: name} })
	if i < 0 {
		return Attribute{}, false
	}
	return list[i], true
}

func (n Name) encode(e *ttlv.Encoder) {
	e.TextString(ttlv.TagNameValue, n.Value)
	e.Enumeration(ttlv.TagNameType, uint32(n.Type))
}

// name reads the content of a Name.
func (d *dec) name() Name {
	return Name{d.TextString(ttlv.TagNameValue), enum[NameType](d, ttlv.TagNameType)}
}

// split answers the vendor and name that KMIP 2.x has for a custom attribute. Its vendors x and y are the
// prefixes of 1.x (KMIP 2.1 section 4.60).
func (r AttributeRef) split() (vendor, name string) {
	if r.Vendor == "" && (strings.HasPrefix(r.Name, "x-") || strings.HasPrefix(r.Name, "y-")) {
		return r.Name[:1], r.Name[2:]
	}
	return r.Vendor, r.Name
}

func join(vendor, name string) AttributeRef {
	if vendor == "x" || vendor == "y" {
		return AttributeRef{Name: vendor + "-" + name}
	}
	return AttributeRef{vendor, name}
}

// name1 is the name that KMIP 1.x has.
func (r AttributeRef) name1() string {
	if r.Vendor != "" {
		return r.Vendor + "-" + r.Name
	}
	return r.Name
}

// ref writes a reference: a name in 1.x, a tag or vendor and name in 2.x.
func (e *enc) ref(r AttributeRef) {
	if !e.two() {
		e.TextString(ttlv.TagAttributeName, r.name1())
		return
	}
	if tag, ok := ttlv.TagByName(r.Name); ok && r.Vendor == "" {
		e.Enumeration(ttlv.TagAttributeReference, uint32(tag))
		return
	}
	vendor, name := r.split()
	m := e.Begin(ttlv.TagAttributeReference)
	e.TextString(ttlv.TagVendorIdentification, vendor)
	e.TextString(ttlv.TagAttributeName, name)
	e.End(m)
}

// refTag is the tag of the references of this version.
func (d *dec) refTag() ttlv.Tag {
	if d.two() {
		return ttlv.TagAttributeReference
	}
	return ttlv.TagAttributeName
}

func (d *dec) ref() AttributeRef {
	if !d.two() {
		return AttributeRef{Name: d.TextString(ttlv.TagAttributeName)}
	}
	if _, ty := d.Peek(); ty == ttlv.TypeEnumeration {
		return AttributeRef{Name: ttlv.Tag(d.Enumeration(ttlv.TagAttributeReference)).String()}
	}
	d.Enter(ttlv.TagAttributeReference)
	r := join(d.TextString(ttlv.TagVendorIdentification), d.TextString(ttlv.TagAttributeName))
	d.Leave()
	return r
}

func (d *dec) refs() []AttributeRef {
	var list []AttributeRef
	for d.Is(d.refTag()) {
		list = append(list, d.ref())
	}
	return list
}

// attribute writes one attribute in the form of the version.
func (e *enc) attribute(a Attribute) {
	if !e.two() {
		m := e.Begin(ttlv.TagAttribute)
		e.TextString(ttlv.TagAttributeName, a.name1())
		e.optInt(ttlv.TagAttributeIndex, a.Index)
		e.optValue(ttlv.TagAttributeValue, a.Value)
		e.End(m)
		return
	}
	if tag, ok := ttlv.TagByName(a.Name); ok && a.Vendor == "" {
		e.optValue(tag, a.Value)
		return
	}
	vendor, name := a.split()
	m := e.Begin(ttlv.TagAttribute)
	e.TextString(ttlv.TagVendorIdentification, vendor)
	e.TextString(ttlv.TagAttributeName, name)
	e.optValue(ttlv.TagAttributeValue, a.Value)
	e.End(m)
}

func (e *enc) attributes(list []Attribute) {
	for i := range list {
		e.attribute(list[i])
	}
}

func (d *dec) attribute() Attribute {
	var a Attribute
	switch {
	case !d.two():
		d.Enter(ttlv.TagAttribute)
		a.Name = d.TextString(ttlv.TagAttributeName)
		a.Index = d.optInt(ttlv.TagAttributeIndex)
		a.Value = d.optValue(ttlv.TagAttributeValue)
		d.Leave()
	case d.Is(ttlv.TagAttribute):
		d.Enter(ttlv.TagAttribute)
		a.AttributeRef = join(d.TextString(ttlv.TagVendorIdentification), d.TextString(ttlv.TagAttributeName))
		a.Value = d.optValue(ttlv.TagAttributeValue)
		d.Leave()
	default:
		var tag ttlv.Tag
		tag, a.Value = d.Any()
		a.Name = tag.String()
	}
	return a
}

// attributeList reads the attributes that follow: until another tag in 1.x, to the end of the structure in 2.x.
func (d *dec) attributeList() []Attribute {
	var list []Attribute
	for d.More() && (d.two() || d.Is(ttlv.TagAttribute)) {
		list = append(list, d.attribute())
	}
	return list
}

// attributesIn reads a structure of attributes of KMIP 2.x; the list is never nil.
func (d *dec) attributesIn(t ttlv.Tag) []Attribute {
	d.Enter(t)
	list := d.attributeList()
	d.Leave()
	if list == nil {
		list = []Attribute{}
	}
	return list
}

// one reads a structure with one attribute of KMIP 2.x.
func (d *dec) one(t ttlv.Tag) Attribute {
	d.Enter(t)
	a := d.attribute()
	d.Leave()
	return a
}

func (e *enc) attributesAs(t ttlv.Tag, list []Attribute) {
	m := e.Begin(t)
	e.attributes(list)
	e.End(m)
}

// Template is what an object is made from: its attributes, and in KMIP 1.x also names
// of templates that the server keeps. A nil *Template is none.
type Template struct {
	Names      []Name // KMIP 1.x
	Attributes []Attribute
}

// Attributes makes a template of attributes.
func Attributes(list ...Attribute) *Template { return &Template{Attributes: list} }

// template writes a template with the tag that the version has for it.
func (e *enc) template(one, two ttlv.Tag, t *Template) {
	switch {
	case t == nil:
	case e.two():
		e.attributesAs(two, t.Attributes)
	default:
		m := e.Begin(one)
		for _, n := range t.Names {
			k := e.Begin(ttlv.TagName)
			n.encode(&e.Encoder)
			e.End(k)
		}
		e.attributes(t.Attributes)
		e.End(m)
	}
}

// template reads a template, nil when there is none.
func (d *dec) template(one, two ttlv.Tag) *Template {
	if d.two() {
		if !d.Is(two) {
			return nil
		}
		return &Template{Attributes: d.attributesIn(two)}
	}
	if !d.Is(one) {
		return nil
	}
	var t Template
	d.Enter(one)
	for d.Is(ttlv.TagName) {
		d.Enter(ttlv.TagName)
		t.Names = append(t.Names, d.name())
		d.Leave()
	}
	t.Attributes = d.attributeList()
	d.Leave()
	return &t
}

// required reads a template that must be there.
func (d *dec) required() *Template {
	t := d.template(ttlv.TagTemplateAttribute, ttlv.TagAttributes)
	if t == nil {
		d.Fail("the template of attributes is missing")
	}
	return t
}
