from rsd_med.reporting.markup import Markup, join, tag


def test_text_and_attributes_are_escaped():
    assert tag("p", "<script>&", title='"<') == '<p title="&quot;&lt;">&lt;script&gt;&amp;</p>'


def test_markup_inside_markup_is_left_alone():
    assert tag("p", tag("b", "a<b"), " & ", None) == "<p><b>a&lt;b</b> &amp; </p>"
    assert isinstance(join("<", Markup("<br>")), Markup)
    assert join("<", Markup("<br>")) == "&lt;<br>"


def test_attribute_names_and_absent_values():
    assert tag("img", class_="a", aria_label="b", alt="", width=3, id=None) == (
        '<img class="a" aria-label="b" alt="" width="3">'
    )
