"""Run with `manage.py test`."""

from django.test import SimpleTestCase

from recloser.testing import Sandbox


class WhileSpeechIsPaused(SimpleTestCase):
    def setUp(self):
        self.recloser = self.enterContext(Sandbox())  # module-level decorators follow it
        self.recloser.trip("elevenlabs")

    def test_callers_are_told_when_to_come_back(self):
        response = self.client.post("/speak", b"Hello", "text/plain")
        self.assertEqual((response.status_code, response["Retry-After"]), (503, "900"))
        self.assertEqual(response.json(), {"error": "paused", "circuit": "elevenlabs", "retry_after": 900})

    async def test_async_views_do_the_same(self):
        response = await self.async_client.post("/aspeak", b"Hello", "text/plain")
        self.assertEqual((response.status_code, response["Retry-After"]), (503, "900"))

    def test_nobody_knows_when_an_operator_resumes(self):
        self.recloser.pause("elevenlabs", reason="contract ended", by="ana")
        response = self.client.post("/speak", b"Hello", "text/plain")
        self.assertEqual(response.status_code, 503)
        self.assertNotIn("Retry-After", response)
        self.assertNotIn("ana", response.text)
