//! As much JSON as the hostile server needs: what it is sent is parsed, what it says is quoted.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// A JSON value. Numbers and words stay text; nothing reads what is in a list.
pub enum Value {
    Word(String),
    Text(String),
    List,
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// Parses a whole text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser { rest: text.chars().peekable() };
        let value = parser.value()?;
        parser.space();
        parser.rest.next().is_none().then_some(value)
    }

    /// Returns a member of a map.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => members.get(name),
            _ => None,
        }
    }

    /// Returns a text, number or word without quotes.
    pub fn plain(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Text(text) => text,
            Self::List | Self::Map(_) => "",
        }
    }

    /// Returns a text, number or word as JSON.
    pub fn json(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            other => other.plain().to_owned(),
        }
    }
}

/// Returns a text as JSON.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\0'..='\u{1f}' => out += &format!("\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

struct Parser<'t> {
    rest: Peekable<Chars<'t>>,
}

impl Parser<'_> {
    fn space(&mut self) {
        while self.rest.next_if(char::is_ascii_whitespace).is_some() {}
    }

    fn eat(&mut self, wanted: char) -> Option<()> {
        self.space();
        self.rest.next_if_eq(&wanted).map(drop)
    }

    fn value(&mut self) -> Option<Value> {
        self.space();
        match self.rest.peek()? {
            '{' => self.map().map(Value::Map),
            '[' => self.list(),
            '"' => self.text().map(Value::Text),
            _ => self.word().map(Value::Word),
        }
    }

    fn map(&mut self) -> Option<BTreeMap<String, Value>> {
        self.eat('{')?;
        let mut members = BTreeMap::new();
        if self.eat('}').is_some() {
            return Some(members);
        }
        loop {
            self.space();
            let name = self.text()?;
            self.eat(':')?;
            members.insert(name, self.value()?);
            if self.eat(',').is_none() {
                return self.eat('}').map(|()| members);
            }
        }
    }

    fn list(&mut self) -> Option<Value> {
        self.eat('[')?;
        if self.eat(']').is_some() {
            return Some(Value::List);
        }
        loop {
            self.value()?;
            if self.eat(',').is_none() {
                return self.eat(']').map(|()| Value::List);
            }
        }
    }

    fn text(&mut self) -> Option<String> {
        self.eat('"')?;
        let mut units = Vec::new();
        loop {
            match self.rest.next()? {
                '"' => return String::from_utf16(&units).ok(),
                '\\' => {
                    let unit = match self.rest.next()? {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'u' => {
                            let digits: String = self.rest.by_ref().take(4).collect();
                            units.push(u16::from_str_radix(&digits, 16).ok()?);
                            continue;
                        }
                        c => c,
                    };
                    units.push(unit as u16);
                }
                c => units.extend_from_slice(c.encode_utf16(&mut [0; 2])),
            }
        }
    }

    fn word(&mut self) -> Option<String> {
        let mut word = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || "+-.".contains(*c)) {
            word.push(c);
        }
        (!word.is_empty()).then_some(word)
    }
}
